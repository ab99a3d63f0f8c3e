//! Words about files that go to several receivers.

use super::*;

pub(super) fn receiver_names(s: &SessionSnapshot) -> String {
    let named = s.receivers.iter().take(NAMES_MAX);
    let names: Vec<String> = named.map(|r| Shown(&r.name).to_string()).collect();
    match s.receivers.len() - names.len() {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// What came of it for all receivers.
pub(super) fn total(s: &SessionSnapshot, exit: Exit, symbols: Symbols, colour: bool) -> String {
    format!(
        "{} {} of {} have everything, {}",
        mark(exit, symbols, colour),
        s.complete,
        count(s.receivers.len() as u64, "receiver", "receivers"),
        took(s.seconds)
    )
}

/// Who gets the rest from the others, also when this program ends.
pub(crate) fn going_on(s: &SessionSnapshot) -> String {
    let all = count(s.receivers.len() as u64, "receiver", "receivers");
    let rest = match s.going_on {
        1 => "1 more can get the rest from them".to_owned(),
        n => format!("{n} more can get the rest from them and from each other"),
    };
    format!("{} of {all} have everything; {rest}.", s.complete)
}

/// The same, as long as this program runs.
pub(super) fn may_leave(s: &SessionSnapshot) -> String {
    format!("{} You can stop here (Ctrl+C).", going_on(s))
}

/// What another receiver says about one that passes on.
pub(super) fn blamed(t: &TransferSnapshot, by: &str, symbols: Symbols) -> String {
    format!(
        "{} {} passed on damaged data, says {}. Nothing of it was kept; it comes from others now.",
        symbols.error,
        Shown(&t.peer_name),
        Shown(by)
    )
}
