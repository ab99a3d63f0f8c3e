//! Words for what the overview says: states, progress, names. Errors have theirs in
//! `peerconnect::fault`.

mod details;
mod devices;
mod failed;
mod history;
mod many;
mod passing;
mod texts;

use std::path::Path;

use peerconnect::config::ANSWER_SOON;
use peerconnect::fault::{Face, Fault};
use peerconnect::node::api::{TextSnapshot, TextState};
use peerconnect::protocol::message::{Outcome, SinkFault, SourceFault};
use peerconnect::text::{Shown, bytes, count, duration};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{
    Direction, FileRow, FileState, Limit, PausedBy, TopName, TransferSnapshot,
};

pub(crate) use self::details::details;
pub(crate) use self::devices::{apart, device_line, differ, facts};
use self::failed::completed;
pub(crate) use self::history::{Told, below, history};
pub(crate) use self::many::session_status;
pub(crate) use self::passing::doubts;
use self::passing::{through, way};
pub(crate) use self::texts::{link, text_status};
use crate::bidi::Apart;
use crate::model::Pace;
use crate::theme::Tone;

/// Bytes that must have moved before a speed is worth saying.
const SPEED_FROM: u64 = 500_000;

/// What is said about a transfer: a line, perhaps a second one that says more, and how it sounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) line: String,
    pub(crate) more: String,
    pub(crate) tone: Tone,
}

impl Status {
    fn new(tone: Tone, line: impl Into<String>) -> Self {
        Self {
            line: line.into(),
            more: String::new(),
            tone,
        }
    }

    fn more(mut self, more: impl Into<String>) -> Self {
        self.more = more.into();
        self
    }
}

/// `3 files`.
pub(crate) fn files(n: u32) -> String {
    count(u64::from(n), "file", "files")
}

/// Names at top level: `holiday.mp4, data/ and 3 more`.
pub(crate) fn names(names: &[TopName], total: u32, most: usize) -> String {
    let apart = |top| Apart(&name(top)).to_string();
    let shown: Vec<String> = names.iter().take(most).map(apart).collect();
    let rest = (total as usize).saturating_sub(shown.len());
    match (shown.is_empty(), rest) {
        (true, _) => "Files".into(),
        (false, 0) => shown.join(", "),
        (false, rest) => format!("{} and {rest} more", shown.join(", ")),
    }
}

/// One name; folders end in a slash.
pub(crate) fn name(top: &TopName) -> String {
    let slash = if top.files.is_some() { "/" } else { "" };
    format!("{}{slash}", Shown(&top.name))
}

/// Whole percent that are done; 100 only when nothing is missing.
pub(crate) fn percent(done: u64, total: u64) -> u64 {
    if total == 0 {
        return 0;
    }
    (u128::from(done) * 100 / u128::from(total)).min(100) as u64
}

/// How full a bar is, 0 to 1.
pub(crate) fn share(done: u64, total: u64) -> f32 {
    if total == 0 {
        return 0.0;
    }
    (done as f64 / total as f64).clamp(0.0, 1.0) as f32
}

/// What is said about a transfer now.
pub(crate) fn status(t: &TransferSnapshot, pace: Pace) -> Status {
    let who = Apart(&t.peer_name);
    let moved = format!("{} of {}", bytes(t.bytes_done), bytes(t.bytes));
    match t.state {
        TransferState::Preparing => Status::new(
            Tone::Weak,
            format!("Counting… {} · {}", files(t.files), bytes(t.bytes)),
        ),
        TransferState::Connecting
            if matches!(
                t.fault,
                Some(Fault::PeerOffline { .. } | Fault::NoRoute { .. })
            ) =>
        {
            Status::new(Tone::Plain, format!("Waiting until {who} is online."))
                .more("It begins by itself, even after PeerConnect was closed and opened again.")
        }
        TransferState::Connecting if matches!(t.fault, Some(Fault::PeerFirewall { .. })) => {
            Status::new(Tone::Plain, format!("Waiting until {who} connects.")).more(
                "There, PeerConnect says that this computer cannot connect, and has a button to \
                 do it from that side. It begins by itself then.",
            )
        }
        TransferState::Connecting => held(t, format!("Connecting to {who}…")),
        TransferState::AwaitingAnswer => waiting(t),
        TransferState::Transferring => held(t, progress(t, pace)),
        TransferState::Paused => paused(t, &moved),
        TransferState::Interrupted if t.is_legacy() => {
            let why = match &t.fault {
                Some(fault @ Fault::Original { .. }) => {
                    let words = fault.words(Face::Window);
                    format!("{} {}", words.detail, words.hint)
                }
                _ => "An old version cannot continue a file: whole files that arrived stay, the \
                      one on its way is sent from its beginning."
                    .into(),
            };
            Status::new(Tone::Warn, "Connection lost. Trying again…").more(why)
        }
        TransferState::Interrupted if t.dormant => {
            let at = percent(t.bytes_done, t.bytes);
            Status::new(Tone::Warn, format!("Interrupted at {at} %."))
                .more(format!("{} are safe.", bytes(t.bytes_done)))
        }
        TransferState::Interrupted => {
            let at = percent(t.bytes_done, t.bytes);
            Status::new(
                Tone::Warn,
                format!("Connection lost at {at} %. Trying again…"),
            )
            .more(format!(
                "{} are safe. It goes on by itself when both are online.",
                bytes(t.bytes_done)
            ))
        }
        TransferState::Completed => completed(t),
        TransferState::Rejected => fault(t, Tone::Warn, format!("{who} declined.")),
        TransferState::Cancelled => fault(t, Tone::Weak, "Cancelled.".into()),
        TransferState::Failed => fault(t, Tone::Error, "It did not work.".into()),
    }
}

/// A line about a running transfer, with what holds it up below.
fn held(t: &TransferSnapshot, line: String) -> Status {
    let status = Status::new(Tone::Plain, line);
    match &t.fault {
        Some(fault) => status.more(fault.words(Face::Window).to_string()),
        None => status,
    }
}

fn waiting(t: &TransferSnapshot) -> Status {
    match t.direction {
        _ if t.accepted => held(t, format!("Continuing with {}…", Apart(&t.peer_name))),
        Direction::Sending => held(
            t,
            format!(
                "Waiting for {} to accept · {} · {}",
                Apart(&t.peer_name),
                files(t.files),
                bytes(t.bytes)
            ),
        ),
        Direction::Receiving => Status::new(Tone::Accent, "Waiting for your answer"),
    }
}

fn progress(t: &TransferSnapshot, pace: Pace) -> String {
    let mut parts = vec![format!("{} of {}", bytes(t.bytes_done), bytes(t.bytes))];
    if pace.rate > 0 && t.bytes_moved >= SPEED_FROM {
        parts.push(format!("{}/s", bytes(pace.rate)));
        if let Some(left) = pace.eta {
            parts.push(format!("{} left", duration(left)));
        }
    }
    if t.conflicts > 0 {
        let wait = count(t.conflicts.into(), "file waits", "files wait");
        parts.push(format!("{wait} for your answer"));
    }
    match t.limit {
        Limit::Setting => parts.push("limited by your setting".into()),
        Limit::Disk => parts.push("the disk here is the limit".into()),
        Limit::PeerDisk => parts.push("the disk there is the limit".into()),
        // While the speed goes up and down, nobody knows.
        Limit::Network if pace.steady => parts.push("the network is the limit".into()),
        Limit::Unknown | Limit::Network => {}
    }
    match (through(t), &t.path) {
        (Some(through), _) => parts.push(format!("{through}, encrypted")),
        (None, Some(path)) => parts.push(way(path.kind).into()),
        (None, None) => {}
    }
    parts.join(" · ")
}

/// `3 devices`.
pub(crate) fn devices(n: usize) -> String {
    count(n as u64, "device", "devices")
}

/// What everybody must know about transfers with old versions.
pub(crate) const NOT_ENCRYPTED: &str = "Not encrypted (old version)";

fn paused(t: &TransferSnapshot, moved: &str) -> Status {
    let who = Apart(&t.peer_name);
    match (t.paused_by, t.direction) {
        (Some(PausedBy::Peer), _) => Status::new(Tone::Warn, format!("Paused by {who} · {moved}")),
        (Some(PausedBy::DiskFull), Direction::Receiving) => {
            let missing = bytes(t.bytes.saturating_sub(t.bytes_done));
            Status::new(
                Tone::Warn,
                format!("Paused: the disk is full ({missing} missing)."),
            )
            .more(format!(
                "Free some space; it goes on by itself. {} already received are kept.",
                bytes(t.bytes_done)
            ))
        }
        (Some(PausedBy::DiskFull), Direction::Sending) => {
            Status::new(Tone::Warn, format!("{who} has no room left."))
                .more("Waiting; nothing is lost.")
        }
        (Some(PausedBy::Us) | None, _) => Status::new(Tone::Warn, format!("Paused · {moved}")),
    }
}

/// Says of an offer that nobody has answered it for so many seconds.
pub(crate) fn unanswered(t: &TransferSnapshot, seconds: u64, status: &mut Status) {
    if seconds < ANSWER_SOON.as_secs() {
        let time = duration(seconds);
        status.more = format!("Nobody has answered for {time}. The offer stays open.");
        return;
    }
    let (who, time) = (Apart(&t.peer_name), duration(seconds));
    status.line = format!("Nobody answered on {who} for {time}.");
    status.more = match t.is_legacy() {
        true => "The offer stays open.".into(),
        false => "The offer stays open for 24 h, unless it is set otherwise there.".into(),
    };
}

/// What is said of a device with another key, which shows these three words, too.
pub(crate) fn compare_instead(three: &str) -> String {
    format!(
        "Its key changed. That happens after reinstalling, or when someone else uses its name. \
         Nothing was sent. Ask its owner to read you the three words: here {}.",
        three_words(three)
    )
}

/// What becomes of these when the program is ended.
pub(crate) fn left<'a>(running: impl Iterator<Item = &'a TransferSnapshot>) -> &'static str {
    let (mut ours, mut old) = (0, 0);
    for t in running {
        *(if t.is_legacy() { &mut old } else { &mut ours }) += 1;
    }
    match (ours, old) {
        (_, 0) => {
            "What has arrived is kept. It goes on where it stopped when you open PeerConnect \
             again."
        }
        (0, _) => {
            "Whole files that have arrived stay. Old versions cannot continue: the rest must be \
             sent again."
        }
        (_, _) => {
            "What has arrived is kept. It goes on where it stopped when you open PeerConnect \
             again; but old versions cannot continue, and the rest must be sent again there."
        }
    }
}

fn fault(t: &TransferSnapshot, tone: Tone, otherwise: String) -> Status {
    match &t.fault {
        Some(fault) => {
            let words = fault.words(Face::Window);
            Status::new(tone, words.title).more(joined([words.detail, words.hint]))
        }
        None => Status::new(tone, otherwise),
    }
}

/// Sentences one after the other.
fn joined<const N: usize>(sentences: [String; N]) -> String {
    let some: Vec<String> = sentences.into_iter().filter(|s| !s.is_empty()).collect();
    some.join(" ")
}

/// Words for one file.
pub(crate) fn file_state(row: &FileRow, legacy: bool) -> (String, Tone) {
    match row.state {
        FileState::Waiting => ("waiting".into(), Tone::Weak),
        FileState::Checking => ("checking".into(), Tone::Weak),
        FileState::Active => (
            format!("{} %", percent(row.bytes_done, row.bytes)),
            Tone::Accent,
        ),
        FileState::Paused => ("paused".into(), Tone::Warn),
        FileState::Asking => ("needs an answer".into(), Tone::Warn),
        FileState::Settled(outcome) => settled(outcome, legacy),
    }
}

fn settled(outcome: Outcome, legacy: bool) -> (String, Tone) {
    let there = if legacy { "arrived" } else { "verified" };
    match outcome {
        Outcome::New => (there.into(), Tone::Ok),
        Outcome::Identical => ("already there".into(), Tone::Ok),
        Outcome::Renamed => (format!("{there}, renamed"), Tone::Ok),
        Outcome::Overwritten => (format!("{there}, replaced"), Tone::Ok),
        Outcome::Skipped => ("skipped".into(), Tone::Weak),
        Outcome::Failed(why) => (sink(why).into(), Tone::Error),
    }
}

fn sink(why: SinkFault) -> &'static str {
    match why {
        SinkFault::Name => "name not possible",
        SinkFault::Exists => "name is taken",
        SinkFault::CannotWrite => "can't be saved",
        SinkFault::Damaged => "damaged on the way",
        SinkFault::Source(SourceFault::Missing) => "missing at the sender",
        SinkFault::Source(SourceFault::Unreadable) => "sender may not read it",
        SinkFault::Source(SourceFault::Changing) => "was being changed",
        SinkFault::Source(SourceFault::Io) => "sender's disk failed",
        SinkFault::Cancelled => "cancelled",
        SinkFault::Unsupported => "old versions can't take links",
    }
}

/// The three words with dots between them, however they were joined. They stay on one
/// line, to be read and compared as one.
pub(crate) fn three_words(words: &str) -> String {
    words
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join("\u{a0}·\u{a0}")
}

/// `12 min ago`, in the largest unit only.
pub(crate) fn ago(seconds: u64) -> String {
    let (n, unit) = match seconds {
        0..60 => return "just now".into(),
        60..3600 => (seconds / 60, "min"),
        3600..86_400 => (seconds / 3600, "h"),
        86_400.. => (seconds / 86_400, "d"),
    };
    format!("{n} {unit} ago")
}

/// A folder as people write it: `~` for their home.
pub(crate) fn folder(path: &Path) -> String {
    let home = std::env::home_dir().filter(|h| h.parent().is_some());
    let text = match home.as_deref().and_then(|h| path.strip_prefix(h).ok()) {
        Some(rest) => Path::new("~").join(rest),
        None => path.to_owned(),
    };
    Shown(&text.to_string_lossy()).to_string()
}

/// What a path that a person typed means: it may stand in quotes, and `~/` and `file://` are
/// understood. `None` if it is not an absolute path.
pub(crate) fn typed_path(text: &str) -> Option<std::path::PathBuf> {
    exact_path(text.trim().trim_matches(['"', '\'']))
}

/// The same of a path that nobody has typed: every character of it counts.
pub(crate) fn exact_path(text: &str) -> Option<std::path::PathBuf> {
    let path = if text.starts_with(FILE_SCHEME) {
        uri_path(text)?
    } else if text == "~" || text.starts_with("~/") {
        let rest = text.trim_start_matches('~').trim_start_matches('/');
        std::env::home_dir()?.join(rest)
    } else {
        std::path::PathBuf::from(text)
    };
    path.is_absolute().then_some(path)
}

const FILE_SCHEME: &str = "file://";

/// The path of a `file://` URI, exactly; `None` if it has none.
pub(crate) fn uri_path(uri: &str) -> Option<std::path::PathBuf> {
    let uri = uri.strip_prefix(FILE_SCHEME)?;
    let (_host, path) = uri.split_at(uri.find('/')?);
    let bytes = unescape(path)?;
    #[cfg(unix)]
    let path = {
        use std::os::unix::ffi::OsStringExt;
        Some(std::ffi::OsString::from_vec(bytes).into())
    };
    #[cfg(not(unix))]
    let path = String::from_utf8(bytes).ok().map(Into::into);
    path
}

/// Undoes the `%20` of URIs.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::samples;

    fn pace(rate: u64, eta: Option<u64>) -> Pace {
        Pace {
            rate,
            eta,
            ..Pace::default()
        }
    }

    #[test]
    fn a_running_transfer_says_how_much_how_fast_how_long_and_which_way() {
        let t = samples::sending();
        assert_eq!(
            status(&t, pace(108_000_000, Some(7))).line,
            "412 MB of 1.20 GB · 108 MB/s · 7 s left · direct, encrypted"
        );
    }

    #[test]
    fn that_the_network_is_the_limit_is_said_once_the_speed_is_steady() {
        let t = samples::sending();
        let steady = Pace {
            steady: true,
            ..pace(108_000_000, Some(7))
        };
        let line = "412 MB of 1.20 GB · 108 MB/s · 7 s left · the network is the limit · direct, \
                    encrypted";
        assert_eq!(status(&t, steady).line, line);
        let limit = Limit::Unknown;
        let unknown = TransferSnapshot { limit, ..t };
        assert!(!status(&unknown, steady).line.contains("limit"));
    }

    #[test]
    fn which_disk_is_the_limit_is_said() {
        for (limit, said) in [
            (Limit::Disk, "the disk here is the limit"),
            (Limit::PeerDisk, "the disk there is the limit"),
            (Limit::Setting, "limited by your setting"),
        ] {
            let t = TransferSnapshot {
                limit,
                ..samples::sending()
            };
            let line = status(&t, pace(108_000_000, Some(7))).line;
            assert!(line.contains(said), "{line}");
        }
    }

    #[test]
    fn speed_is_not_said_before_there_is_one() {
        let mut t = samples::sending();
        t.bytes_moved = SPEED_FROM - 1;
        assert_eq!(
            status(&t, pace(108_000_000, Some(7))).line,
            "412 MB of 1.20 GB · direct, encrypted"
        );
    }

    #[test]
    fn a_hundred_percent_are_said_only_when_nothing_is_missing() {
        assert_eq!(percent(999_999_999, 1_000_000_000), 99);
        assert_eq!(percent(5, 5), 100);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(percent(0, 0), 0);
    }

    #[test]
    fn every_state_has_words_and_names_of_peers_are_made_safe() {
        for state in TransferState::ALL {
            let mut t = samples::sending();
            t.state = state;
            t.peer_name = "evil\u{202e}name".into();
            let status = status(&t, pace(0, None));
            assert!(!status.line.is_empty(), "{state:?}");
            assert!(!status.line.contains('\u{202e}'), "{state:?}");
        }
    }

    #[test]
    fn what_holds_a_transfer_up_is_told_as_to_people_before_a_window() {
        let mut t = samples::sending();
        t.fault = Some(Fault::SameIdentity {
            peer: "Living-room PC".into(),
        });
        let more = status(&t, pace(0, None)).more;
        assert!(
            more.contains("Make a new identity on one of the two."),
            "{more}"
        );
        assert!(!more.contains("peerconnect config"), "{more}");
    }

    #[test]
    fn who_paused_is_said() {
        let mut t = samples::sending();
        t.state = TransferState::Paused;
        let mut said = Vec::new();
        for by in [PausedBy::Us, PausedBy::Peer, PausedBy::DiskFull] {
            t.paused_by = Some(by);
            said.push(status(&t, pace(0, None)).line);
        }
        assert_eq!(
            said,
            [
                "Paused · 412 MB of 1.20 GB",
                "Paused by Living-room PC · 412 MB of 1.20 GB",
                "Living-room PC has no room left.",
            ]
        );
    }

    #[test]
    fn three_words_are_joined_by_dots_however_they_come() {
        for text in [
            "river copper nine",
            "river-copper-nine",
            "river · copper · nine",
        ] {
            assert_eq!(
                three_words(text),
                "river\u{a0}·\u{a0}copper\u{a0}·\u{a0}nine"
            );
        }
    }

    #[test]
    fn typed_paths_may_be_uris_quoted_or_below_home_but_not_relative() {
        assert_eq!(typed_path(" \"/a b\" ").unwrap(), Path::new("/a b"));
        assert_eq!(
            typed_path("file:///a%20b/%C3%A9").unwrap(),
            Path::new("/a b/é")
        );
        assert_eq!(typed_path("file://host/a").unwrap(), Path::new("/a"));
        let quoted = "/\"a\" ";
        assert_eq!(exact_path(quoted).unwrap(), Path::new(quoted));
        assert_eq!(typed_path("file:///a%2"), None);
        assert_eq!(typed_path("a/b"), None);
        assert_eq!(typed_path(""), None);
        let home = std::env::home_dir().unwrap();
        assert_eq!(typed_path("~/x").unwrap(), home.join("x"));
    }
}
