//! Words about what has ended.

use std::path::{Component, PathBuf};

use peerconnect::storage::store::{HistoryRecord, TextRecord};
use peerconnect::text::day;

use super::*;
use crate::icons::Icon;

/// Seconds after which a day says more than how long ago it was.
const WEEK: u64 = 7 * 86_400;

/// Characters of a text that are shown.
const TEXT_SHOWN: usize = 80;

/// An entry of the history in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// What it was.
    pub(crate) subject: String,
    /// From or to whom.
    pub(crate) whom: String,
    /// Said about old versions.
    pub(crate) mark: &'static str,
    /// How it ended.
    pub(crate) result: String,
    pub(crate) tone: Tone,
    /// When, and how much.
    pub(crate) rest: String,
    /// Why it ended, if it failed.
    pub(crate) more: Option<String>,
    pub(crate) icon: Icon,
}

/// See [`Told`].
pub(crate) fn history(record: &HistoryRecord, now: u64) -> Told {
    let way = if record.sent { "to" } else { "from" };
    let legacy = record.peer.is_some_and(|peer| peer.legacy().is_some());
    let (result, tone) = result(record, legacy);
    let age = now.saturating_sub(record.ended);
    let when = match i64::try_from(record.ended) {
        Ok(ended) if age >= WEEK => day(ended, now),
        Ok(_) | Err(_) => ago(age),
    };
    let much = match &record.text {
        Some(_) => bytes(record.bytes),
        None => format!("{} · {}", files(record.files), bytes(record.bytes)),
    };
    Told {
        subject: subject(record),
        whom: format!("   {way} {}", Apart(&record.peer_name)),
        mark: if legacy { "   old version" } else { "" },
        result,
        tone,
        rest: format!(" · {when} · {much}"),
        more: record.fault.as_ref().map(|fault| {
            let words = fault.words(Face::Window);
            let parts = [words.title, words.detail, words.hint];
            let parts: Vec<String> = parts.into_iter().filter(|p| !p.is_empty()).collect();
            parts.join(" ")
        }),
        icon: match (&record.fault, record.sent) {
            (Some(_), _) => Icon::Close,
            (None, true) => Icon::Up,
            (None, false) => Icon::Down,
        },
    }
}

fn subject(record: &HistoryRecord) -> String {
    if let Some(text) = &record.text {
        return text_line(text);
    }
    let names: Vec<String> = record
        .names
        .iter()
        .take(2)
        .map(|n| Apart(n).to_string())
        .collect();
    let rest = record.names.len().saturating_sub(names.len());
    match (names.is_empty(), rest) {
        (true, _) => "Files".into(),
        (false, 0) => names.join(", "),
        // Only the first names are remembered.
        (false, rest) if rest < 18 => format!("{} and {rest} more", names.join(", ")),
        (false, _) => format!("{} and more", names.join(", ")),
    }
}

/// The beginning of a text, in a line.
fn text_line(text: &TextRecord) -> String {
    let line = text.start.lines().next().unwrap_or_default();
    let start: String = line.chars().take(TEXT_SHOWN).collect();
    let more = text.cut || start.len() < text.start.len();
    format!("\"{}{}\"", Shown(&start), if more { "…" } else { "" })
}

fn result(record: &HistoryRecord, legacy: bool) -> (String, Tone) {
    match (&record.fault, record.failed) {
        (Some(Fault::Cancelled), _) => ("Cancelled".into(), Tone::Weak),
        (Some(fault), _) => (fault.words(Face::Window).title, Tone::Warn),
        (None, 0) if record.text.is_some() => match (record.sent, legacy) {
            (false, _) => ("Shown".into(), Tone::Ok),
            (true, false) => ("Delivered".into(), Tone::Ok),
            (true, true) => ("Handed over".into(), Tone::Ok),
        },
        (None, 0) if legacy => ("Arrived, not verified".into(), Tone::Ok),
        (None, 0) if record.sent => ("Delivered".into(), Tone::Ok),
        (None, 0) => ("Arrived and verified".into(), Tone::Ok),
        (None, failed) => (format!("{} did not arrive", files(failed)), Tone::Warn),
    }
}

/// A file of this name in `folder`; `None` if the name leads out of it.
pub(crate) fn below(folder: &Path, name: &str) -> Option<PathBuf> {
    let name = Path::new(name);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let inside = name.components().next().is_some() && name.components().all(plain);
    inside.then(|| folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn an_entry_says_who_what_when_and_how_it_ended() {
        let record = samples::ended(1);
        let told = history(&record, samples::NOW);
        assert_eq!(told.subject, "holiday.mp4");
        assert_eq!(told.whom, "   from Kitchen");
        let line = format!("{}{}", told.result, told.rest);
        assert_eq!(line, "Arrived and verified · 5 min ago · 1 file · 734 MB");
        let old = HistoryRecord {
            ended: samples::NOW - 400 * 86_400,
            ..record
        };
        assert!(!history(&old, samples::NOW).rest.contains("ago"));
    }

    #[test]
    fn names_of_the_history_open_nothing_outside_the_folder() {
        let folder = Path::new("/srv/in");
        assert_eq!(below(folder, "a/b"), Some("/srv/in/a/b".into()));
        for name in ["", "..", "../a", "/etc/passwd", "a/../../b", "."] {
            assert_eq!(below(folder, name), None, "{name}");
        }
    }
}
