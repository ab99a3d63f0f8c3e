use super::*;

fn parse(text: &str) -> Result<Settings, String> {
    Settings::parse(text, Path::new("config.toml")).map_err(|error| error.to_string())
}

#[test]
fn the_first_start_writes_a_file_that_sets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::below(&folder.path().join("new"));
    let first = Settings::from_file(&paths.settings_file()).unwrap();
    let text = std::fs::read_to_string(paths.settings_file()).unwrap();
    for (key, ..) in first.fields() {
        assert!(text.contains(&format!("\n# {key} = ")), "{key} in {text}");
    }
    assert_eq!(Settings::from_file(&paths.settings_file()).unwrap(), first);
    assert_eq!(first, Settings::default());
}

#[test]
fn every_commented_line_is_valid_without_its_mark() {
    let text: String = Settings::commented()
        .lines()
        .filter(|line| line.contains(" = "))
        .map(|line| line.trim_start_matches("# ").to_owned() + "\n")
        .collect();
    assert_eq!(parse(&text).unwrap(), Settings::default());
}

#[test]
fn saving_changes_only_the_lines_that_differ() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::below(folder.path());
    std::fs::write(
        paths.settings_file(),
        "# mine\nname = \"a\"  # home\nport=1\n",
    )
    .unwrap();
    let mut settings = Settings::from_file(&paths.settings_file()).unwrap();
    settings.port = 0;
    settings.rate_limit = Some(20_000_000);
    settings.save(&paths).unwrap();
    let text = std::fs::read_to_string(paths.settings_file()).unwrap();
    assert_eq!(
        text,
        "# mine\nname = \"a\"  # home\nport = 0\nrate_limit = 20000000\n"
    );
    assert_eq!(
        Settings::from_file(&paths.settings_file()).unwrap(),
        settings
    );
}

#[test]
fn values_that_need_quoting_survive() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::below(folder.path());
    let settings = Settings {
        name: "a \"b\" \\ # é\n'".into(),
        folder: "/tmp/x = y".into(),
        on_conflict: ConflictPolicy::Overwrite,
        rate_limit: Some(1),
        answer_timeout: Duration::from_secs(7),
        ..Settings::default()
    };
    settings.save(&paths).unwrap();
    assert_eq!(
        Settings::from_file(&paths.settings_file()).unwrap(),
        settings
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_key() {
    let error = parse("name = \"x\"\n\nprot = 1\n").unwrap_err();
    assert!(error.contains("config.toml line 3"), "{error}");
    assert!(error.contains("did you mean `port`?"), "{error}");
    let error = parse("colour = 1\n").unwrap_err();
    assert!(!error.contains("did you mean"), "{error}");
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_with_its_line() {
    for text in [
        "port = 70000",
        "port = \"x\"",
        "rate_limit = \"fast\"",
        "answer_timeout = \"soon\"",
        "on_conflict = \"perhaps\"",
        "announce = \"trusted\"",
    ] {
        let error = parse(&format!("\n{text}\n")).unwrap_err();
        assert!(error.contains("line 2"), "{text}: {error}");
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let mut settings = parse("name = \"file\"\nport = 1\n").unwrap();
    let get = |key: &str| match key {
        "PEERCONNECT_NAME" => Some(OsString::from("env")),
        "PEERCONNECT_DOWNLOADS" => Some(OsString::from("/srv/in")),
        "PEERCONNECT_PORT" => Some(OsString::from("2")),
        "PEERCONNECT_ANNOUNCE" => Some(OsString::from("never")),
        _ => None,
    };
    settings.apply_env(get).unwrap();
    assert_eq!(settings.name, "env");
    assert_eq!(settings.folder, Path::new("/srv/in"));
    assert_eq!(settings.port, 2);
    assert_eq!(settings.announce, Announce::Never);
    let error = settings.apply_env(|_| Some("x".into())).unwrap_err();
    assert!(error.to_string().starts_with("PEERCONNECT_PORT"));
}

#[test]
fn a_value_over_several_lines_is_replaced_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::below(folder.path());
    std::fs::write(
        paths.settings_file(),
        "name = \"\"\"\nport = 5\n\"\"\"\nport = 1\n",
    )
    .unwrap();
    let mut settings = Settings::from_file(&paths.settings_file()).unwrap();
    settings.name = "short".into();
    settings.save(&paths).unwrap();
    assert_eq!(
        Settings::from_file(&paths.settings_file()).unwrap(),
        settings
    );
}
