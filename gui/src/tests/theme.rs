//! That the window has two accents and six sizes of letters is of use only if nobody adds others.

use std::path::Path;

/// What belongs into the theme alone.
const OURS: [&str; 7] = [
    "Color32::from_",
    "Color32::WHITE",
    "Color32::BLACK",
    "Rgba::from_",
    "FontId::",
    ".size(1",
    ".size(2",
];

fn look(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "theme" && name != "tests" {
                look(&path, found);
            }
        } else if name != "theme.rs" && name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for (number, line) in text.lines().enumerate() {
                let stray = OURS.iter().filter(|ours| line.contains(**ours));
                found.extend(stray.map(|ours| format!("{name}:{}: {ours}", number + 1)));
            }
        }
    }
}

#[test]
fn colours_and_sizes_of_letters_are_in_the_theme_alone() {
    let mut found = Vec::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    look(&sources, &mut found);
    assert!(found.is_empty(), "{found:#?}");
}
