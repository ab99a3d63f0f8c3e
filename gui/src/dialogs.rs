//! The system's file dialogs. Each call waits for the person: never on the painting thread.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::outside::{Pick, Picked};

/// A dialog that ends sooner than this, without a result, was never shown: no person closes one
/// that fast, and the folder dialog has no other way to say that it does not exist.
const TOO_FAST: Duration = Duration::from_millis(150);

/// Shows the dialog and waits. May never return if the system's dialog service dies meanwhile.
pub(crate) fn pick(what: Pick) -> Picked {
    let begun = Instant::now();
    let chosen = match what {
        Pick::Files => rfd::FileDialog::new()
            .set_title("Files to send")
            .pick_files(),
        Pick::Folder => folder("Folder to send"),
        Pick::Target => folder("Save the files in"),
    };
    judge(what, chosen, begun.elapsed())
}

fn folder(title: &str) -> Option<Vec<PathBuf>> {
    rfd::FileDialog::new()
        .set_title(title)
        .pick_folder()
        .map(|path| vec![path])
}

/// What an answer of the dialog after `took` means.
fn judge(what: Pick, chosen: Option<Vec<PathBuf>>, took: Duration) -> Picked {
    match chosen {
        // The dialog for several files says `None` only where none could be shown (on Linux).
        None if took < TOO_FAST || (cfg!(target_os = "linux") && what == Pick::Files) => {
            Picked::NoDialog
        }
        None => Picked::Nothing,
        Some(paths) if paths.is_empty() => Picked::Nothing,
        Some(paths) if paths.iter().all(|p| p.is_absolute() && p.exists()) => Picked::Paths(paths),
        Some(_) => Picked::Garbled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_secs(3);

    #[test]
    fn a_dialog_that_ends_at_once_was_not_there() {
        assert_eq!(judge(Pick::Files, None, Duration::ZERO), Picked::NoDialog);
        assert_eq!(judge(Pick::Folder, None, Duration::ZERO), Picked::NoDialog);
    }

    #[test]
    fn closing_the_dialog_chooses_nothing() {
        assert_eq!(judge(Pick::Folder, None, SLOW), Picked::Nothing);
        assert_eq!(judge(Pick::Files, Some(vec![]), SLOW), Picked::Nothing);
    }

    #[test]
    fn names_that_a_dialog_split_are_refused_as_a_whole() {
        let here = std::env::current_exe().unwrap_or_default();
        let split = vec![here.clone(), PathBuf::from("b.txt")];
        assert_eq!(judge(Pick::Files, Some(split), SLOW), Picked::Garbled);
        assert_eq!(
            judge(Pick::Files, Some(vec![here.clone()]), SLOW),
            Picked::Paths(vec![here])
        );
    }
}
