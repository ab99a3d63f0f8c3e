//! Mistakes, help, settings: what works without any peer.

use std::process::Stdio;

use crate::program::Home;

#[test]
fn without_arguments_there_is_help_and_code_2() {
    let home = Home::new();
    let ended = home.run::<&str>(&[]).with_code(2);
    assert!(ended.stderr.contains("Usage:"), "{}", ended.stderr);
}

#[test]
fn help_lists_every_exit_code() {
    let help = Home::new().run(&["--help"]).with_code(0).lines.join("\n");
    for code in (0..=15).chain([130, 143]) {
        let listed = help.lines().any(|line| {
            line.trim_start().starts_with(&format!("{code} "))
                || line.contains(&format!("({code} by"))
        });
        assert!(listed, "{code} in {help}");
    }
}

#[test]
fn who_forgets_send_is_told() {
    let home = Home::new();
    home.write("my file.pdf", 1, 0);
    let ended = home.run(&["my file.pdf", "b"]).with_code(2);
    let text = ended.stderr;
    assert!(
        text.contains("Did you mean `peerconnect send 'my file.pdf' b`?"),
        "{text}"
    );
    let ended = home.run(&["recieve"]).with_code(2);
    assert!(ended.stderr.contains("receive"), "{}", ended.stderr);
}

#[test]
fn what_cannot_be_meant_is_refused_with_code_2() {
    let home = Home::new();
    home.write("a", 1, 0);
    for args in [
        &["-q", "-v", "list"][..],
        &["send", "a"],
        &["send", "--to", "x", "--limit", "fast", "a"],
        &["receive"],
        &["receive", "--yes", "--from", "x"],
        &["receive", "--from", "nobody-we-know"],
        &["pause", "ab"],
        &["resume", "abcd"],
        &["attach", "ab", "a"],
        &["peers", "trust", "nobody"],
        &["send", "--to", "nobody we know", "a"],
    ] {
        let ended = home.run(args);
        assert_eq!(ended.code, 2, "{args:?}: {ended:?}");
        assert!(!ended.stderr.is_empty(), "{args:?}");
    }
    let hint = home.run(&["receive"]).stderr;
    assert!(hint.contains("--yes"), "the flag to add: {hint}");
}

#[test]
fn a_missing_source_is_code_11_before_anything_else() {
    let home = Home::new();
    let ended = home
        .run(&["send", "--json", "--to", "x", "nothing-here"])
        .with_code(11);
    let error = ended.only("error");
    assert_eq!(error["code"], "source-missing");
    assert_eq!(error["exit"], 11);
    assert_eq!(error["retryable"], false);
    assert!(error["message"].as_str().unwrap().contains("nothing-here"));
    assert!(!home.config().join("control.sock").exists());
}

#[test]
fn the_first_start_writes_settings_that_explain_themselves() {
    let home = Home::new();
    home.run(&["config"]).with_code(0);
    let text = std::fs::read_to_string(home.config().join("config.toml")).unwrap();
    assert!(text.lines().all(|l| l.is_empty() || l.starts_with('#')));
    assert!(text.contains("# rate_limit ="));
}

#[test]
fn a_mistake_in_the_settings_is_code_2_with_its_line() {
    let home = Home::new();
    std::fs::create_dir_all(home.config()).unwrap();
    std::fs::write(home.config().join("config.toml"), "\nprot = 1\n").unwrap();
    let ended = home.run(&["config"]).with_code(2);
    for part in ["config.toml line 2", "`port`"] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let home = Home::new();
    std::fs::create_dir_all(home.config()).unwrap();
    let file = "name = \"file\"\nport = 1\non_conflict = \"skip\"\n";
    std::fs::write(home.config().join("config.toml"), file).unwrap();
    let mut command = home.command(&["config", "--json", "--name", "flag"]);
    command
        .env("PEERCONNECT_NAME", "env")
        .env("PEERCONNECT_PORT", "2");
    let output = command.output().unwrap();
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["name"], "flag");
    assert_eq!(line["port"], "2");
    assert_eq!(line["on_conflict"], "skip");
}

#[test]
fn a_setting_is_changed_by_its_key_and_nonsense_is_refused() {
    let home = Home::new();
    home.run(&["config", "rate_limit", "20M"]).with_code(0);
    home.run(&["config", "name", "Desk \"1\""]).with_code(0);
    let shown = home.run(&["config", "rate_limit", "--json"]).with_code(0);
    assert_eq!(shown.only("config")["rate_limit"], "20000000");
    let text = std::fs::read_to_string(home.config().join("config.toml")).unwrap();
    assert!(text.contains("\nrate_limit = 20000000\n"), "{text}");
    for wrong in [
        ["rate_limit", "fast"],
        ["rate_limti", "1"],
        ["port", "70000"],
    ] {
        let ended = home.run(&["config", wrong[0], wrong[1]]).with_code(2);
        assert!(ended.stderr.contains(wrong[0]), "{}", ended.stderr);
    }
    let after = std::fs::read_to_string(home.config().join("config.toml")).unwrap();
    assert_eq!(after, text);
}

#[test]
fn it_runs_without_any_environment() {
    let home = Home::new();
    let mut command = home.command(&["config", "--paths", "--json"]);
    let output = command.env_clear().output().unwrap();
    assert!(output.status.success());
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in ["settings", "identity", "state", "socket", "downloads"] {
        let path = line[key].as_str().unwrap();
        assert!(path.starts_with('/'), "{key}: {path}");
    }
}

#[test]
fn a_long_config_folder_works_too() {
    let home = Home::new();
    let long = home.file(&"long/".repeat(40));
    let ended = home.run(&["list", "--json", "--config-dir", long.to_str().unwrap()]);
    ended.with_code(0);
}

#[test]
fn completions_exist_for_five_shells() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = home.run(&["completions", shell]).with_code(0).lines;
        assert!(script.len() > 50, "{shell}");
        assert!(
            script.iter().any(|line| line.contains("receive")),
            "{shell}"
        );
    }
}

#[test]
fn a_dry_run_prints_sizes_and_names() {
    let home = Home::new();
    home.write("tree/b.txt", 5, 0);
    home.write("tree/a/c.txt", 7, 0);
    std::fs::create_dir(home.file("tree/empty")).unwrap();
    let ended = home.run(&["send", "--dry-run", "tree"]).with_code(0);
    assert_eq!(
        ended.lines,
        [
            "0 tree/",
            "0 tree/a/",
            "7 tree/a/c.txt",
            "5 tree/b.txt",
            "0 tree/empty/"
        ]
    );
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let home = Home::new();
    let mut command = home.command(&["completions", "bash"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
