//! What the window is opened with: a link that was clicked somewhere, files from a file manager.

use std::ffi::OsString;
use std::path::PathBuf;

use peerconnect::protocol::message::TransferId;

use crate::input::is_link;
use crate::words;

/// Most files on a command line: what follows is left out.
const PATHS_MAX: usize = 10_000;

/// Asks for no window until one is needed.
pub(crate) const HIDDEN: &str = "--hidden";
/// Asks for licences, and no window.
const LICENCES: &str = "--licences";
/// Asks for a window for a question.
pub const QUESTION: &str = "--question";
/// Asks for a window with the transfer or text in sight whose id follows.
pub const ABOUT: &str = "--about";

/// What somebody wants to do with the window.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The link of a device. It is shown, not used: any web page can have one opened.
    pub link: Option<String>,
    /// Files and folders to send, absolute.
    pub paths: Vec<PathBuf>,
    /// How many more there were that cannot be sent like this.
    pub left_out: usize,
    /// A transfer or text to be brought into sight.
    pub about: Option<TransferId>,
}

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The window, with this.
    Window(Opened),
    /// The window, because somebody waits for an answer; it takes the keyboard from nobody.
    Question,
    /// No window, until somebody waits for an answer.
    Hidden,
    /// To be told what can be asked for.
    Help,
    /// The licences of what the program is built with.
    Licences,
    /// Nothing that there is.
    Unknown(String),
}

impl Opened {
    fn add(&mut self, path: Option<PathBuf>) {
        match path {
            Some(path) if self.paths.len() < PATHS_MAX => self.paths.push(path),
            Some(_) | None => self.left_out += 1,
        }
    }
}

impl Asked {
    /// Understands the arguments behind the program's name.
    pub fn of(arguments: impl IntoIterator<Item = OsString>) -> Self {
        let mut opened = Opened::default();
        let mut only_paths = false;
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--") if !only_paths => only_paths = true,
                Some("-h" | "--help") if !only_paths => return Self::Help,
                Some(LICENCES) if !only_paths => return Self::Licences,
                Some(HIDDEN) if !only_paths => return Self::Hidden,
                Some(QUESTION) if !only_paths => return Self::Question,
                Some(ABOUT) if !only_paths => {
                    let id = arguments.next().and_then(|id| id.to_str()?.parse().ok());
                    match id {
                        Some(id) => opened.about = Some(id),
                        None => return Self::Unknown(ABOUT.to_owned()),
                    }
                }
                Some(option) if option.starts_with('-') && !only_paths => {
                    return Self::Unknown(option.to_owned());
                }
                Some(link) if is_link(link) && !only_paths => opened.link = Some(link.to_owned()),
                Some(uri) if uri.starts_with("file://") && !only_paths => {
                    opened.add(words::uri_path(uri));
                }
                Some(_) | None => opened.add(std::path::absolute(argument).ok()),
            }
        }
        Self::Window(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(arguments: &[&str]) -> Asked {
        Asked::of(arguments.iter().map(OsString::from))
    }

    #[test]
    fn links_files_and_uris_of_files_are_told_apart() {
        let here = std::env::current_dir().unwrap();
        let opened = asked(&[
            "peerconnect:abc?a=1",
            "/a b",
            "c",
            "file:///d%20e'",
            "file://nothing",
            "--",
            "-f",
        ]);
        assert_eq!(
            opened,
            Asked::Window(Opened {
                link: Some("peerconnect:abc?a=1".into()),
                paths: vec![
                    "/a b".into(),
                    here.join("c"),
                    "/d e'".into(),
                    here.join("-f")
                ],
                left_out: 1,
                about: None,
            })
        );
        assert_eq!(asked(&[]), Asked::Window(Opened::default()));
    }

    #[test]
    fn options_are_answered() {
        assert_eq!(asked(&["-h"]), Asked::Help);
        assert_eq!(asked(&["--licences"]), Asked::Licences);
        assert_eq!(asked(&["--hidden"]), Asked::Hidden);
        assert_eq!(asked(&["--question"]), Asked::Question);
        assert_eq!(asked(&["--hep"]), Asked::Unknown("--hep".into()));
        let id = TransferId([7; 16]);
        let opened = Opened {
            about: Some(id),
            ..Opened::default()
        };
        assert_eq!(asked(&[ABOUT, &id.to_string()]), Asked::Window(opened));
        for arguments in [&[ABOUT][..], &[ABOUT, "nothing"]] {
            assert_eq!(asked(arguments), Asked::Unknown(ABOUT.into()));
        }
    }
}
