//! Reads the sources and holds them to the rules that no compiler knows: layers, sizes, words.
//!
//! A violation is printed as `path:line: what`. Exceptions are in [`EXCEPTIONS`], with a reason.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Most lines of a file, without its tests.
const FILE_LINES_MAX: usize = 500;
/// Most lines of a function.
const FUNCTION_LINES_MAX: usize = 70;
/// Most characters of a line.
const LINE_LEN_MAX: usize = 100;

/// What may break a rule, and why. An exception that nothing needs is a violation itself.
const EXCEPTIONS: &[(&str, Rule, &str)] = &[(
    "src/fault.rs",
    Rule::FunctionLength,
    "one match with the words for each fault, and nothing but words",
)];

/// The layers of the library, from the bottom. A module may use those of lower layers and itself;
/// those in one layer are strangers, except at the bottom, which is pure data.
const LAYERS: &[&[&str]] = &[
    &["config", "fault", "peer", "protocol", "text"],
    &["identity"],
    &["net", "storage"],
    &["transfer"],
    &["otm"],
    &["node"],
];

/// Words that do not belong into the product: (text, where it is allowed all the same, why not).
const BANNED: &[(&str, &[&str], &str)] = &[
    ("todo!", &[], "finish it"),
    ("unimplemented!", &[], "finish it"),
    ("dbg!", &[], "use tracing"),
    (".unwrap()", &[], "bytes from a peer never end the program"),
    ("unbounded_channel", &[], "every queue has a limit"),
    (
        "tokio::fs",
        &[],
        "it loses pending writes, and is slow: use std::fs",
    ),
    (
        "println!",
        &["src/cli/", "src/main.rs"],
        "stdout and stderr belong to the faces",
    ),
    (
        "print!(",
        &["src/cli/", "src/main.rs"],
        "stdout and stderr belong to the faces",
    ),
];

/// What the protocol may not know: it is pure.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::io",
    "tokio",
    "Instant::now",
    "SystemTime::now",
    "UdpSocket",
    "TcpStream",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Layer,
    Purity,
    FileLength,
    FunctionLength,
    LineLength,
    Word,
    DeadFile,
    UnusedException,
}

#[derive(Debug)]
struct Violation {
    path: String,
    line: usize,
    rule: Rule,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {:?}: {}",
            self.path, self.line, self.rule, self.what
        )
    }
}

#[test]
fn the_sources_keep_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "gui", "tests", "benches", "fuzz"] {
        collect(&root.join(folder), &mut files);
    }
    assert!(files.len() > 20, "the sources were not found");
    let mut found = Vec::new();
    for file in &files {
        let path = file
            .strip_prefix(root)
            .unwrap()
            .to_string_lossy()
            .replace('\\', "/");
        let text = fs::read_to_string(file).unwrap();
        check(&path, &text, &mut found);
        check_reachable(root, &path, &mut found);
    }
    let violations = without_exceptions(found);
    let report: Vec<String> = violations.iter().map(|v| v.to_string()).collect();
    assert!(report.is_empty(), "\n{}\n", report.join("\n"));
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name() != Some("target".as_ref()) {
            collect(&path, files);
        } else if path.extension() == Some("rs".as_ref()) {
            files.push(path);
        }
    }
    files.sort();
}

fn check(path: &str, text: &str, found: &mut Vec<Violation>) {
    let lines: Vec<&str> = text.lines().collect();
    let product = product_lines(path, &lines);
    for (n, line) in lines.iter().enumerate() {
        let len = line.chars().count();
        if len > LINE_LEN_MAX {
            let what = format!("{len} characters, at most {LINE_LEN_MAX}");
            add(found, path, n, Rule::LineLength, what);
        }
    }
    if product > FILE_LINES_MAX {
        let what = format!("{product} lines without tests, at most {FILE_LINES_MAX}");
        add(found, path, 0, Rule::FileLength, what);
    }
    for (n, line) in lines.iter().take(product).enumerate() {
        let code = code_of(line);
        check_layer(path, n, code, found);
        check_words(path, n, code, found);
    }
    check_functions(path, &lines, found);
}

/// How many lines come before the tests, which are at the end. Files of tests have none.
fn product_lines(path: &str, lines: &[&str]) -> usize {
    let tests_only = path
        .split('/')
        .any(|part| part == "tests" || part == "benches")
        || path.ends_with("/tests.rs")
        || path.ends_with("/testing.rs");
    if tests_only {
        return 0;
    }
    let is_test_module = |n: usize| {
        let rest = lines.get(n..).unwrap_or_default();
        let mut after = rest.iter().skip_while(|line| line.starts_with("#["));
        after
            .next()
            .is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    (0..lines.len())
        .find(|n| lines[*n] == "#[cfg(test)]" && is_test_module(*n))
        .unwrap_or(lines.len())
}

/// The line without its comment. Good enough for code that rustfmt has seen.
fn code_of(line: &str) -> &str {
    match line.trim_start().starts_with("//") {
        true => "",
        false => line.split(" // ").next().unwrap_or_default(),
    }
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The module of the library that a file belongs to.
fn module_of(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("src/")?;
    let first = inner.split('/').next()?;
    let module = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(module, "lib" | "main" | "cli")).then_some(module)
}

fn check_layer(path: &str, line: usize, code: &str, found: &mut Vec<Violation>) {
    let Some(module) = module_of(path) else {
        return;
    };
    let Some(own) = layer_of(module) else {
        let what = format!("module `{module}` is in no layer; see LAYERS");
        return add(found, path, line, Rule::Layer, what);
    };
    for used in code.split("crate::").skip(1) {
        let name: String = used
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let allowed = match layer_of(&name) {
            Some(other) => name == module || other < own || (other == own && own == 0),
            // A list in braces, or a macro: one module per `use` keeps this check simple.
            None => false,
        };
        if !allowed {
            let what = format!("`{module}` may not use `crate::{name}`");
            add(found, path, line, Rule::Layer, what);
        }
    }
    if module == "protocol" {
        for word in IMPURE {
            if code.contains(word) {
                let what = format!("the protocol is pure: no `{word}`");
                add(found, path, line, Rule::Purity, what);
            }
        }
    }
}

fn check_words(path: &str, line: usize, code: &str, found: &mut Vec<Violation>) {
    for (word, places, why) in BANNED {
        let allowed = places.iter().any(|place| path.starts_with(place));
        if !allowed && code.contains(word) {
            add(found, path, line, Rule::Word, format!("`{word}`: {why}"));
        }
    }
}

fn check_functions(path: &str, lines: &[&str], found: &mut Vec<Violation>) {
    for (n, line) in lines.iter().enumerate() {
        if !starts_function(line) {
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let rest = || lines.iter().enumerate().skip(n);
        // The head ends with `{`, or with `;` where a trait only declares the function.
        let head = rest().find(|(_, l)| l.ends_with('{') || l.ends_with(['}', ';']));
        if !head.is_some_and(|(_, l)| l.ends_with('{')) {
            continue;
        }
        let end = rest().find(|(_, l)| l.strip_prefix(indent) == Some("}"));
        let length = end.map_or(0, |(end, _)| end - n + 1);
        if length > FUNCTION_LINES_MAX {
            let what = format!("{length} lines, at most {FUNCTION_LINES_MAX}");
            add(found, path, n, Rule::FunctionLength, what);
        }
    }
}

fn starts_function(line: &str) -> bool {
    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.peek() {
        let qualifier =
            matches!(*word, "pub" | "async" | "const" | "unsafe") || word.starts_with("pub(");
        if !qualifier {
            break;
        }
        words.next();
    }
    words.next() == Some("fn")
}

/// A file that no `mod` names is never compiled, and rots.
fn check_reachable(root: &Path, path: &str, found: &mut Vec<Violation>) {
    let Some((folder, file)) = path.rsplit_once('/') else {
        return;
    };
    let module = file.trim_end_matches(".rs");
    let in_sources = folder.contains("src") && !folder.contains("src/bin");
    if !in_sources || matches!(module, "main" | "lib" | "build") {
        return;
    }
    let (folder, module) = match (module, folder.rsplit_once('/')) {
        ("mod", Some((above, name))) => (above, name),
        _ => (folder, module),
    };
    let parents = [
        format!("{folder}/mod.rs"),
        format!("{folder}.rs"),
        format!("{folder}/lib.rs"),
        format!("{folder}/main.rs"),
    ];
    let named = parents.iter().any(|parent| {
        let text = fs::read_to_string(root.join(parent)).unwrap_or_default();
        text.lines()
            .any(|line| line.trim().ends_with(&format!("mod {module};")))
    });
    if !named {
        let what = format!("no `mod {module};` names this file");
        add(found, path, 0, Rule::DeadFile, what);
    }
}

fn add(found: &mut Vec<Violation>, path: &str, line: usize, rule: Rule, what: String) {
    let (path, line) = (path.to_owned(), line + 1);
    found.push(Violation {
        path,
        line,
        rule,
        what,
    });
}

fn without_exceptions(mut found: Vec<Violation>) -> Vec<Violation> {
    for (path, rule, _) in EXCEPTIONS {
        let before = found.len();
        found.retain(|v| v.path != *path || v.rule != *rule);
        if found.len() == before {
            let what = "nothing needs this exception".to_owned();
            add(&mut found, path, 0, Rule::UnusedException, what);
        }
    }
    found
}

/// The rules that a text breaks.
fn rules_broken(path: &str, text: &str) -> Vec<Rule> {
    let mut found = Vec::new();
    check(path, text, &mut found);
    found.into_iter().map(|v| v.rule).collect()
}

#[test]
fn imports_that_point_up_or_sideways_are_found() {
    for (path, line, good) in [
        ("src/net/quic.rs", "use crate::transfer::state::X;", false),
        ("src/net/quic.rs", "use crate::storage::store::X;", false),
        ("src/net/quic.rs", "use crate::{peer, node};", false),
        ("src/net/quic.rs", "let x: crate::node::api::X;", false),
        ("src/net/quic.rs", "use crate::protocol::frame::X;", true),
        ("src/net/quic.rs", "use crate::net::link::X;", true),
        ("src/net/quic.rs", "    // see crate::node", true),
        ("src/text.rs", "use crate::peer::PeerId;", true),
        ("src/protocol/frame.rs", "use std::io::Read;", false),
        ("src/mystery.rs", "use crate::peer::PeerId;", false),
        ("src/cli/face.rs", "use crate::cli::testing;", true),
    ] {
        assert_eq!(rules_broken(path, line).is_empty(), good, "{path}: {line}");
    }
}

#[test]
fn long_functions_files_and_lines_are_found_and_tests_may_be_long() {
    let function = |lines| {
        format!(
            "    async fn f() {{\n{}    }}\n",
            "        x();\n".repeat(lines)
        )
    };
    assert_eq!(rules_broken("src/a.rs", ""), []);
    let broken = |text: &str| rules_broken("src/text.rs", text);
    assert_eq!(broken(&function(FUNCTION_LINES_MAX - 2)), []);
    assert_eq!(
        broken(&function(FUNCTION_LINES_MAX - 1)),
        [Rule::FunctionLength]
    );
    assert_eq!(
        broken(&"x();\n".repeat(FILE_LINES_MAX + 1)),
        [Rule::FileLength]
    );
    let tests = format!(
        "#[cfg(test)]\nmod tests {{\n{}}}\n",
        "x();\n".repeat(FILE_LINES_MAX)
    );
    assert_eq!(broken(&tests), []);
    assert_eq!(broken(&"é".repeat(LINE_LEN_MAX + 1)), [Rule::LineLength]);
    assert_eq!(broken(&"é".repeat(LINE_LEN_MAX)), []);
}

#[test]
fn banned_words_are_found_in_the_product_only() {
    for (word, ..) in BANNED {
        let line = format!("    {word}");
        assert_ne!(rules_broken("src/text.rs", &line), [], "{word}");
        assert_eq!(rules_broken("src/text.rs", &format!("// {word}")), []);
        let test = format!("#[cfg(test)]\n#[allow(x)]\nmod tests {{\n{line}\n}}");
        assert_eq!(rules_broken("src/text.rs", &test), []);
        assert_eq!(rules_broken("tests/x.rs", &line), []);
    }
}
