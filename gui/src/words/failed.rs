//! What has not arrived of a transfer that is over: what happened to one file, or a list of
//! several.

use peerconnect::fault::Words;
use peerconnect::transfer::status::{FailedEntry, Repaired};

use super::*;

/// A transfer that has come to its end, whatever became of its files.
pub(super) fn completed(t: &TransferSnapshot) -> Status {
    if t.is_unconfirmed() {
        return fault(t, Tone::Ok, String::new());
    }
    let line = match t.direction {
        Direction::Sending => format!(
            "Delivered to {} · {} · {}",
            Apart(&t.peer_name),
            files(t.files_done),
            bytes(t.bytes_done)
        ),
        Direction::Receiving => format!(
            "{} {} · {}",
            files(t.files_done),
            match t.is_legacy() {
                true => "arrived, not verified",
                false => "arrived and verified",
            },
            bytes(t.bytes_done)
        ),
    };
    let failed = t.entries_failed.max(t.files_failed);
    if failed == 0 {
        let repaired = t.repaired.as_ref().map(Repaired::words);
        return Status::new(Tone::Ok, line).more(repaired.unwrap_or_default());
    }
    let (title, between, rest) = not_arrived(t, failed);
    match t.files_done {
        // Nothing else is worth a line.
        0 => Status::new(Tone::Error, title).more(rest),
        _ => Status::new(Tone::Warn, line).more(format!("{title}{between}{rest}").trim_end()),
    }
}

/// What has happened, what stands between that and the rest, and the rest.
fn not_arrived(t: &TransferSnapshot, failed: u32) -> (String, &'static str, String) {
    match t.failures.as_slice() {
        // That it was cancelled says no more than that somebody wanted it so.
        [one] if failed == 1 && one.why != SinkFault::Cancelled => {
            let words = of_one(t, one);
            (words.title, " ", joined([words.detail, words.hint]))
        }
        some => {
            let lines = of_several(t, some, failed).join("\n");
            (format!("{} did not arrive.", files(failed)), "\n", lines)
        }
    }
}

fn of_one(t: &TransferSnapshot, failed: &FailedEntry) -> Words {
    let words = Fault::of_file(&failed.path, failed.why).words(Face::Window);
    match t.direction {
        Direction::Sending => there(t, failed, words),
        Direction::Receiving => here(t, failed, words),
    }
}

/// The same as the sender sees it, whose disk and names are not the ones that matter.
fn there(t: &TransferSnapshot, failed: &FailedEntry, words: Words) -> Words {
    let (who, path) = (Apart(&t.peer_name), Apart(&failed.path));
    match failed.why {
        SinkFault::CannotWrite => Words {
            title: format!("{who} can't save \"{path}\"."),
            detail: "The disk there, or its permissions, do not allow it.".into(),
            hint: "Ask its owner to choose another folder, then try again.".into(),
        },
        SinkFault::Name => Words {
            title: format!("{who} can't use the name \"{path}\"."),
            detail: words.detail,
            hint: "Rename it, then send it again.".into(),
        },
        SinkFault::Exists
        | SinkFault::Damaged
        | SinkFault::Source(_)
        | SinkFault::Cancelled
        | SinkFault::Unsupported => words,
    }
}

/// The same as the receiver sees it, who can only ask for it.
fn here(t: &TransferSnapshot, failed: &FailedEntry, words: Words) -> Words {
    let who = Apart(&t.peer_name);
    let hint = match failed.why {
        SinkFault::CannotWrite => {
            // What the disk said is known here.
            let words = unwritable(t).unwrap_or(words);
            let hint = format!("{} Then ask {who} to send it again.", words.hint);
            return Words { hint, ..words };
        }
        SinkFault::Exists => format!("Rename yours, then ask {who} to send it again."),
        SinkFault::Name => format!("Ask {who} to rename it, then to send it again."),
        SinkFault::Unsupported => return words,
        SinkFault::Damaged | SinkFault::Source(_) | SinkFault::Cancelled => {
            format!("Ask {who} to send it again.")
        }
    };
    Words { hint, ..words }
}

/// What the disk said when it did not take a file.
fn unwritable(t: &TransferSnapshot) -> Option<Words> {
    let fault = t.fault.as_ref();
    let fault = fault.filter(|fault| matches!(fault, Fault::CannotWrite { .. }));
    Some(fault?.words(Face::Window))
}

fn of_several(t: &TransferSnapshot, some: &[FailedEntry], failed: u32) -> Vec<String> {
    let mut lines: Vec<String> = some
        .iter()
        .map(|one| format!("{}: {}", Apart(&one.path), sink(one.why)))
        .collect();
    let rest = failed.saturating_sub(some.len() as u32);
    if rest > 0 && !some.is_empty() {
        lines.push(format!("and {rest} more"));
    }
    let said = unwritable(t).filter(|_| t.direction == Direction::Receiving);
    lines.extend(said.map(|words| format!("{} {}", words.title, words.hint)));
    // The sender has a button for it.
    if t.direction == Direction::Receiving {
        let them = if failed == 1 { "it" } else { "them" };
        lines.push(format!("Ask {} to send {them} again.", Apart(&t.peer_name)));
    }
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::samples;

    fn said(t: &TransferSnapshot) -> (String, String) {
        let status = completed(t);
        (status.line, status.more)
    }

    #[test]
    fn one_file_that_did_not_arrive_is_explained_where_it_is_seen() {
        let sent = |why| said(&samples::without(samples::sending(), &[why])).1;
        let got = |why| said(&samples::without(samples::receiving(1), &[why])).1;
        let intact = "\"file 0\" doesn't arrive intact. The same part was wrong 3 times; this \
                      points to bad memory or disk on one side. It was not saved under its name; \
                      all other files are fine.";
        assert_eq!(
            sent(SinkFault::Damaged),
            format!("{intact} Try this file again.")
        );
        assert_eq!(
            got(SinkFault::Damaged),
            format!("{intact} Ask Kitchen to send it again.")
        );
        assert!(sent(SinkFault::CannotWrite).starts_with("Living-room PC can't save \"file 0\"."));
        assert!(sent(SinkFault::Name).starts_with("Living-room PC can't use the name"));
        assert!(
            got(SinkFault::Exists).ends_with("Rename yours, then ask Kitchen to send it again.")
        );
        let left_out = sent(SinkFault::Cancelled);
        assert_eq!(left_out, "1 file did not arrive.\nfile 0: cancelled");
    }

    #[test]
    fn what_the_disk_said_is_told_where_the_disk_is() {
        let fault = Fault::CannotWrite {
            path: "/srv/in/file 0".into(),
            why: "no permission".into(),
        };
        let mut t = samples::without(samples::receiving(1), &[SinkFault::CannotWrite]);
        t.fault = Some(fault);
        let one = "Can't save in /srv/in/file 0: no permission.";
        assert!(said(&t).1.starts_with(one), "{}", said(&t).1);
        let mut t = samples::without(samples::receiving(1), &[SinkFault::CannotWrite; 7]);
        assert!(!said(&t).1.contains(one));
        t.fault = Some(Fault::CannotWrite {
            path: "/srv/in/file 0".into(),
            why: "no permission".into(),
        });
        assert!(said(&t).1.contains(one), "{}", said(&t).1);
    }

    #[test]
    fn what_came_damaged_and_was_fetched_again_is_told() {
        let mut t = samples::without(samples::receiving(1), &[]);
        assert_eq!(completed(&t).more, "");
        let repaired = |files, parts| {
            let path = "holiday.mp4".into();
            Some(Repaired { path, files, parts })
        };
        t.repaired = repaired(1, 2);
        let status = completed(&t);
        assert_eq!(
            (status.more.as_str(), status.tone),
            (
                "2 damaged parts of holiday.mp4 were fetched again.",
                Tone::Ok
            )
        );
        t.repaired = repaired(3, 3);
        assert_eq!(
            completed(&t).more,
            "3 damaged parts of holiday.mp4 and 2 other files were fetched again."
        );
    }

    #[test]
    fn several_are_a_list_that_does_not_grow() {
        let t = samples::without(samples::receiving(1), &[SinkFault::Damaged; 7]);
        let lines: Vec<String> = said(&t).1.lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "7 files did not arrive.");
        assert_eq!(lines[1], "file 0: damaged on the way");
        let last = [
            "file 4: damaged on the way",
            "and 2 more",
            "Ask Kitchen to send them again.",
        ];
        assert_eq!(lines[5..], last);
    }

    #[test]
    fn where_nothing_has_arrived_that_is_what_happened() {
        let mut t = samples::without(samples::receiving(1), &[SinkFault::Damaged]);
        (t.files_done, t.bytes_done) = (0, 0);
        let (line, more) = said(&t);
        assert_eq!(line, "\"file 0\" doesn't arrive intact.");
        assert!(more.ends_with("Ask Kitchen to send it again."), "{more}");
    }
}
