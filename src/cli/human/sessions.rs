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
    let (complete, more) = (s.complete, s.going_on);
    if complete == 0 {
        let all = count(u64::from(more), "receiver", "receivers");
        return format!("Nobody has everything yet, but {all} can get the rest from the others.");
    }
    let all = count(s.receivers.len() as u64, "receiver", "receivers");
    format!("{complete} of {all} have everything; {more} more can get the rest from the others.")
}

/// The same, as long as this program runs.
pub(super) fn may_leave(s: &SessionSnapshot) -> String {
    format!("{} You can stop here (Ctrl+C).", going_on(s))
}

/// Somebody needs this program after all.
pub(super) fn must_stay(s: &SessionSnapshot) -> String {
    let all = count(s.receivers.len() as u64, "receiver", "receivers");
    format!(
        "Please stay: {} of {all} have everything, and the others cannot get all of it without you \
         now.",
        s.complete
    )
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

/// Why the others get nothing from a receiver that passes on.
pub(super) fn shortcoming(t: &TransferSnapshot, short: Shortcoming) -> String {
    let name = Shown(&t.peer_name);
    match short {
        Shortcoming::Withholds => {
            format!("{name} does not pass on what it has. The others get it elsewhere.")
        }
        Shortcoming::Denies => {
            format!("{name} no longer has what it got, say the others. They get it elsewhere.")
        }
        Shortcoming::Doubted => {
            format!("One of the others says that it got nothing from {name}.")
        }
        Shortcoming::OutOfReach => {
            format!("The others cannot reach {name}. They get it elsewhere.")
        }
    }
}

/// Another receiver has passed on wrong data to this computer.
pub(super) fn lied_to(by: &str, symbols: Symbols) -> String {
    format!(
        "{} {} gave wrong data. Nothing of it was kept; it comes from others now.",
        symbols.error,
        Shown(by)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{session, snapshot};
    use peerconnect::protocol::message::TransferId;

    #[test]
    fn who_does_not_pass_on_is_named_and_who_cannot_be_reached_not_accused() {
        let mut t = snapshot(TransferState::Transferring);
        t.peer_name = "Attic\u{1b}".into();
        let said = shortcoming(&t, Shortcoming::Withholds);
        assert!(
            said.starts_with("Attic") && !said.contains('\u{1b}'),
            "{said}"
        );
        assert!(said.contains(" does not pass on what it has. "), "{said}");
        // Its person may have moved the files: that is no accusation.
        let said = shortcoming(&t, Shortcoming::Denies);
        assert!(said.contains(" no longer has what it got, say "), "{said}");
        let said = shortcoming(&t, Shortcoming::Doubted);
        assert!(said.starts_with("One of the others says "), "{said}");
        let said = shortcoming(&t, Shortcoming::OutOfReach);
        assert!(said.starts_with("The others cannot reach Attic"), "{said}");
    }

    #[test]
    fn it_is_said_who_can_do_without_this_program() {
        let states = [
            TransferState::Completed,
            TransferState::Transferring,
            TransferState::Transferring,
        ];
        let transfer = |(n, state)| {
            let mut t = snapshot(state);
            t.id = TransferId([n; 16]);
            t.passing.goes_on = n > 0;
            t
        };
        let mut transfers: Vec<_> = (0..).zip(states).map(transfer).collect();
        let s = session(&transfers);
        let words = "1 of 3 receivers have everything; 2 more can get the rest from the others.";
        assert!(s.may_leave());
        assert_eq!(going_on(&s), words);
        let must = must_stay(&s);
        assert!(
            must.starts_with("Please stay: 1 of 3 receivers have everything"),
            "{must}"
        );
        transfers[0].state = TransferState::Transferring;
        transfers[0].passing.goes_on = true;
        let between =
            "Nobody has everything yet, but 3 receivers can get the rest from the others.";
        assert_eq!(going_on(&session(&transfers)), between);
        // Who is paused waits for this program; of one that is lost nothing is known.
        for state in [TransferState::Paused, TransferState::Interrupted] {
            transfers[1].state = state;
            assert!(!session(&transfers).may_leave(), "{state:?}");
        }
    }
}
