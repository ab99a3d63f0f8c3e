//! The licences of what is built in: who has which, and their texts with the names of those who
//! gave them. Both files are made here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::about_ui::{LICENCES, TEXTS};

const LOCK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");

/// More than this is no licence.
const TEXT_MAX: u64 = 256 * 1024;

/// What the texts may add to the program.
const ALL_MAX: usize = 600 * 1024;

/// How the files are renewed.
const RENEW: &str = "UPDATE_LICENCES=true cargo test --workspace --lib -- tests::about";

/// Packages of others in the lock file.
fn locked() -> BTreeSet<String> {
    let lock: toml::Table = std::fs::read_to_string(LOCK).unwrap().parse().unwrap();
    let packages = lock["package"].as_array().unwrap().iter();
    let others = packages.filter(|package| package.get("source").is_some());
    let names = others.map(|package| package["name"].as_str().unwrap().to_owned());
    names.collect()
}

/// What `cargo` says; `None` if it cannot, as without a network.
fn cargo(args: &[&str]) -> Option<String> {
    let cargo = std::env::var_os("CARGO")?;
    let output = Command::new(cargo)
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).unwrap())
}

/// Packages of others that are in the programs as they run on Linux: `name version`.
fn built_in() -> Option<BTreeSet<String>> {
    let said = cargo(&[
        "tree",
        "--locked",
        "--offline",
        "--package=peerconnect",
        "--package=peerconnect-gui",
        "--edges=normal",
        "--target=x86_64-unknown-linux-gnu",
        "--prefix=none",
        "--format={p}",
    ])?;
    let lines = said.lines().filter(|line| !line.contains("(/"));
    let names = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        Some(format!(
            "{} {}",
            words.next()?,
            words.next()?.trim_start_matches('v')
        ))
    });
    Some(names.collect())
}

/// A package, as far as licences go.
struct Package {
    name: String,
    licence: String,
    authors: Vec<String>,
    folder: PathBuf,
}

/// All packages, by `name version`.
fn packages() -> BTreeMap<String, Package> {
    let said = cargo(&["metadata", "--format-version", "1", "--locked"]).unwrap();
    let all: serde_json::Value = serde_json::from_str(&said).unwrap();
    let packages = all["packages"].as_array().unwrap().iter();
    let read = packages.map(|package| {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let licence = package["license"].as_str().unwrap_or("see its own file");
        let authors = package["authors"].as_array().unwrap().iter();
        let key = format!("{} {}", text("name"), text("version"));
        let package = Package {
            name: text("name"),
            licence: licence.replace('/', " OR ").replace("  ", " "),
            authors: authors
                .filter_map(|a| Some(a.as_str()?.to_owned()))
                .collect(),
            folder: Path::new(&text("manifest_path"))
                .parent()
                .unwrap()
                .to_owned(),
        };
        (key, package)
    });
    read.collect()
}

/// Whether a file of this name says what the licence is.
fn is_licence(name: &str) -> bool {
    let name = name.to_uppercase();
    let starts = [
        "LICENSE",
        "LICENCE",
        "COPYING",
        "COPYRIGHT",
        "NOTICE",
        "UNLICENSE",
    ];
    let code = [".RS", ".TOML", ".JSON", ".HTML"];
    starts.iter().any(|start| name.starts_with(start))
        && !code.iter().any(|end| name.ends_with(end))
}

/// The files with licences of a package, by name; those of fonts, too.
fn texts_of(package: &Package) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (folder, any) in [("", false), ("LICENSES", true), ("fonts", true)] {
        let entries = std::fs::read_dir(package.folder.join(folder));
        for entry in entries.into_iter().flatten() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            let length = entry.metadata().unwrap();
            let wanted = is_licence(&name) || any && name.ends_with(".txt");
            if wanted && length.is_file() && length.len() <= TEXT_MAX {
                let bytes = std::fs::read(entry.path()).unwrap();
                found.push((name, String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
    }
    found.sort();
    // Who gives a choice has it made here: one text is enough. Not where several hold at once.
    let mit = |(name, _): &(String, String)| name.to_uppercase().contains("MIT");
    let says = |word: &str| package.licence.contains(word);
    let offers_mit = says(" OR ") && says("MIT") && !says(" AND ");
    if offers_mit && found.iter().any(mit) {
        let notice = |name: &str| name.to_uppercase().starts_with("NOTICE");
        found.retain(|file| mit(file) || notice(&file.0));
    }
    found
}

/// A text without differences that mean nothing, and the lines in which somebody is named.
fn taken_apart(text: &str) -> (String, Vec<String>) {
    let mut rest = String::new();
    let mut named = Vec::new();
    for line in text.lines().map(str::trim_end) {
        let is_name = line
            .trim_start()
            .to_lowercase()
            .starts_with("copyright (c)")
            || line.trim_start().to_lowercase().starts_with("copyright ©")
            || line.trim_start().starts_with("Copyright 2")
            || line.trim_start().starts_with("Copyright 19");
        match is_name {
            true => named.push(line.trim().to_owned()),
            false => {
                rest.push_str(line);
                rest.push('\n');
            }
        }
    }
    (rest.trim_matches('\n').to_owned(), named)
}

/// The same text in other lines is the same text.
fn squeezed(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

/// A text, and whose it is.
#[derive(Default)]
struct Shared {
    text: String,
    /// `name: Copyright …`, one a line.
    of: BTreeSet<String>,
}

/// All texts, by what they say.
fn shared(packages: &[&Package]) -> (BTreeMap<String, Shared>, Vec<String>) {
    let mut texts: BTreeMap<String, Shared> = BTreeMap::new();
    let mut without = Vec::new();
    for package in packages {
        let files = texts_of(package);
        if files.is_empty() {
            let authors = package.authors.join(", ");
            without.push(format!("{}: {}; {authors}", package.name, package.licence));
        }
        for (file, text) in files {
            let (rest, named) = taken_apart(&text);
            let entry = texts.entry(squeezed(&rest)).or_default();
            if entry.text.is_empty() {
                entry.text = rest;
            }
            if named.is_empty() {
                entry.of.insert(format!("{} ({file})", package.name));
            }
            for name in named {
                entry.of.insert(format!("{}: {name}", package.name));
            }
        }
    }
    (texts, without)
}

fn renew() {
    let packages = packages();
    let mut licences: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages.values() {
        let entry = licences.entry(&package.name).or_default();
        entry.insert(&package.licence);
    }
    let mut list = String::new();
    for name in locked() {
        let licences = licences.get(name.as_str()).into_iter().flatten().copied();
        let licences: Vec<&str> = licences.collect();
        list.push_str(&format!("{name}: {}\n", licences.join("; ")));
    }
    let at = |file: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::write(at("licences.txt"), list).unwrap();

    let used: Vec<&Package> = built_in()
        .unwrap()
        .iter()
        .map(|key| &packages[key])
        .collect();
    let (texts, without) = shared(&used);
    let mut all = String::from(
        "What this program is built with, and fonts in it, come under these licences.\n",
    );
    let line = "-".repeat(78);
    let mut texts: Vec<&Shared> = texts.values().collect();
    texts.sort_by_key(|shared| std::cmp::Reverse(shared.of.len()));
    for shared in texts {
        all.push_str(&format!("\n{line}\n"));
        for of in &shared.of {
            all.push_str(&format!("{of}\n"));
        }
        all.push_str(&format!("\n{}\n", shared.text));
    }
    all.push_str(&format!(
        "\n{line}\nThese come without a text of their own, under the licences above:\n\n"
    ));
    for package in without {
        all.push_str(&format!("{package}\n"));
    }
    std::fs::write(at("licence-texts.txt"), all).unwrap();
}

#[test]
fn every_package_that_is_built_in_is_listed_with_its_licence() {
    if std::env::var_os("UPDATE_LICENCES").is_some() {
        return renew();
    }
    let listed = LICENCES.lines().map(|line| line.split_once(": ").unwrap());
    let listed: BTreeMap<&str, &str> = listed.collect();
    let locked = locked();
    let locked: BTreeSet<&str> = locked.iter().map(String::as_str).collect();
    let names: BTreeSet<&str> = listed.keys().copied().collect();
    let missing: Vec<_> = locked.difference(&names).collect();
    let gone: Vec<_> = names.difference(&locked).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "missing: {missing:?}, gone: {gone:?}; {RENEW} writes the list anew"
    );
    for (name, licence) in listed {
        assert!(!licence.is_empty(), "{name}");
    }
}

/// Names that stand above a text, or among those without one.
fn named() -> BTreeSet<&'static str> {
    let lines = TEXTS.lines();
    lines
        .filter_map(|line| line.split([':', ' ']).next())
        .collect()
}

#[test]
fn the_texts_of_all_licences_come_with_the_names_of_who_gave_them() {
    if std::env::var_os("UPDATE_LICENCES").is_some() {
        return;
    }
    assert!(TEXTS.len() < ALL_MAX, "{} bytes", TEXTS.len());
    for said in [
        "Permission is hereby granted, free of charge",
        "Apache License",
        "SIL OPEN FONT LICENSE",
        "UBUNTU FONT LICENCE",
        "quinn: Copyright (c)",
        "epaint_default_fonts",
    ] {
        assert!(TEXTS.contains(said), "{said}");
    }
    let Some(built_in) = built_in() else {
        let must = std::env::var_os("PEERCONNECT_TEST_ALL").is_some();
        assert!(!must, "cargo does not say what is built in");
        return;
    };
    assert!(built_in.len() > 100, "{}", built_in.len());
    let named = named();
    let names = built_in.iter().filter_map(|key| key.split(' ').next());
    let missing: Vec<_> = names.filter(|name| !named.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}; {RENEW} writes them anew");
}

#[test]
fn one_licence_of_two_people_is_one_text() {
    let (one, by_one) = taken_apart("MIT\n\nCopyright (c) 2020 A\n\nPermission is\ngranted.\n");
    let (two, by_two) = taken_apart("MIT\nCopyright 2021 B\n\nPermission is granted.");
    assert_eq!(squeezed(&one), squeezed(&two));
    assert_eq!(by_one, ["Copyright (c) 2020 A"]);
    assert_eq!(by_two, ["Copyright 2021 B"]);
    assert!(is_licence("LICENSE-MIT") && is_licence("NOTICE"));
    assert!(!is_licence("license.rs") && !is_licence("README.md"));
}
