//! The last line of defence: the kernel itself keeps a thread, and every thread that it starts,
//! from writing anywhere but where it has to. Should everything else fail, a peer still reaches
//! nothing else. Linux only (Landlock); reading stays as it is, because people send any file.

use std::path::Path;

/// How far the kernel helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// Nothing outside can be written, removed or made.
    Full,
    /// Less than that: the kernel is too old for some of it.
    Partial,
    /// Not at all: the kernel cannot, or this is not Linux.
    None,
}

/// From now on this thread, and those that it starts, change files below these folders only; they
/// must exist. Cannot be undone. Files that are open already stay as they are, and so do the other
/// threads of the process.
pub fn confine_writes(folders: &[&Path]) -> Confinement {
    let confinement = imp::confine(folders);
    match &confinement {
        Ok(Confinement::Full) => tracing::debug!("the kernel confines what peers can write"),
        Ok(Confinement::Partial) => {
            tracing::info!("this kernel confines only some of what peers can write");
        }
        Ok(Confinement::None) => {
            tracing::info!("this system cannot confine what peers can write (no Landlock)");
        }
        Err(why) => tracing::warn!(why, "what peers can write is not confined"),
    }
    confinement.unwrap_or(Confinement::None)
}

#[cfg(target_os = "linux")]
mod imp {
    use std::path::Path;

    use landlock::{
        ABI, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    };

    use super::Confinement;

    /// Newest rights that are asked for; older kernels give what they know of them.
    const ABI_WANTED: ABI = ABI::V5;

    pub(super) fn confine(folders: &[&Path]) -> Result<Confinement, String> {
        let writing = AccessFs::from_write(ABI_WANTED);
        let failed = |error: &dyn std::error::Error| error.to_string();
        let mut rules = Ruleset::default()
            .handle_access(writing)
            .and_then(Ruleset::create)
            .map_err(|e| failed(&e))?;
        for folder in folders {
            let folder = PathFd::new(folder).map_err(|e| failed(&e))?;
            rules = rules
                .add_rule(PathBeneath::new(folder, writing))
                .map_err(|e| failed(&e))?;
        }
        let status = rules.restrict_self().map_err(|e| failed(&e))?;
        Ok(match status.ruleset {
            RulesetStatus::FullyEnforced => Confinement::Full,
            RulesetStatus::PartiallyEnforced => Confinement::Partial,
            RulesetStatus::NotEnforced => Confinement::None,
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::path::Path;

    use super::Confinement;

    pub(super) fn confine(_: &[&Path]) -> Result<Confinement, String> {
        Ok(Confinement::None)
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_confined_thread_writes_inside_only_and_reads_everywhere() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("kept"), b"mine").unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("way")).unwrap();
        let (inner, outer) = (inside.path().to_owned(), outside.path().to_owned());
        // A thread of its own: there is no way back.
        let confined = std::thread::spawn(move || {
            if confine_writes(&[&inner]) == Confinement::None {
                return None;
            }
            std::fs::write(inner.join("new"), b"x").unwrap();
            std::fs::rename(inner.join("new"), inner.join("newer")).unwrap();
            let started = {
                let outer = outer.clone();
                std::thread::spawn(move || std::fs::write(outer.join("new"), b"x").is_err())
            };
            let refused = [
                std::fs::write(outer.join("new"), b"x").is_err(),
                std::fs::write(outer.join("kept"), b"x").is_err(),
                std::fs::write(inner.join("way/new"), b"x").is_err(),
                std::fs::create_dir(outer.join("dir")).is_err(),
                std::fs::remove_file(outer.join("kept")).is_err(),
                std::fs::rename(inner.join("newer"), outer.join("newer")).is_err(),
                started.join().unwrap(),
            ];
            assert_eq!(std::fs::read(outer.join("kept")).unwrap(), b"mine");
            Some(refused)
        });
        match confined.join().unwrap() {
            Some(refused) => assert_eq!(refused, [true; 7]),
            None => eprintln!("skipped: no Landlock here"),
        }
        std::fs::write(outside.path().join("after"), b"other threads are free").unwrap();
    }
}
