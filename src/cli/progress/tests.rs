//! Bars and lines, as they are drawn.

use super::*;
use crate::cli::testing::{session, snapshot};
use peerconnect::protocol::message::TransferId;

/// Transfers to as many receivers, done to so many percent.
fn receivers(percents: &[u64]) -> Vec<TransferSnapshot> {
    let mut transfers = Vec::new();
    for (n, percent) in (1..).zip(percents) {
        let state = match percent {
            100 => TransferState::Completed,
            _ => TransferState::Transferring,
        };
        let mut t = snapshot(state);
        (t.id, t.bytes, t.bytes_done) = (TransferId([n; 16]), 1_000_000, percent * 10_000);
        (t.rate, t.eta_seconds) = (2_000_000, Some(u64::from(n)));
        t.peer_name = format!("peer {n}\u{1b}");
        transfers.push(t);
    }
    transfers
}

#[test]
fn of_several_receivers_the_whole_is_shown_and_those_with_most_before_them() {
    let transfers = receivers(&[50, 100, 10, 30]);
    let s = session(&transfers);
    let line = session_line(&s, 79, Duration::ZERO, Symbols::UNICODE);
    let end = "1.90 MB/4.00 MB  8.00 MB/s  4 s  1 of 4 done";
    assert!(
        line.starts_with(" 47% ━━━") && line.ends_with(end),
        "{line}"
    );
    let all: Vec<&TransferSnapshot> = transfers.iter().collect();
    let order: Vec<u8> = slowest(&all).iter().map(|t| t.id.0[0]).collect();
    assert_eq!(order, [3, 4, 1]);
    let line = receiver_line(&transfers[2], 79);
    assert_eq!(line, "     peer 3\\u{1b}  10%  2.00 MB/s  3 s");
    for width in 1..200 {
        let lines = [
            session_line(&s, width, STALLED, Symbols::ASCII),
            receiver_line(&transfers[0], width),
        ];
        for line in lines {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
    let line = Plain::default().due_for(&s, Instant::now()).unwrap();
    assert!(line.contains("1 of 4 receivers have everything"), "{line}");
}

#[test]
fn the_total_line_has_everything_and_fits_the_width() {
    let mut t = snapshot(TransferState::Transferring);
    (t.bytes, t.bytes_done, t.rate) = (1_200_000_000, 756_000_000, 108_000_000);
    t.eta_seconds = Some(4);
    let line = total_line(&t, 79, Duration::ZERO, Symbols::UNICODE);
    assert!(line.starts_with(" 63% ━━━"), "{line}");
    assert!(
        line.ends_with("756 MB/1.20 GB  108 MB/s  4 s  direct"),
        "{line}"
    );
    for width in 1..200 {
        for without in [Duration::ZERO, Duration::from_secs(12)] {
            let line = total_line(&t, width, without, Symbols::ASCII);
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
    let line = total_line(&t, 40, Duration::ZERO, Symbols::UNICODE);
    assert_eq!(line, " 63% 108 MB/s");
}

#[test]
fn standing_still_is_said_with_its_reason() {
    let mut t = snapshot(TransferState::Transferring);
    t.limit = Limit::Network;
    let line = total_line(&t, 79, Duration::from_secs(12), Symbols::UNICODE);
    assert!(line.contains("stalled 12 s (network)"), "{line}");
}

#[test]
fn a_hundred_percent_means_all() {
    let mut t = snapshot(TransferState::Transferring);
    (t.bytes, t.bytes_done) = (1_000_000, 999_999);
    assert_eq!(percent(&t), 99);
    t.bytes_done = t.bytes;
    assert_eq!(percent(&t), 100);
    t.bytes = 0;
    assert_eq!(percent(&t), 0);
}

#[test]
fn plain_lines_come_at_the_start_each_ten_percent_and_each_ten_seconds() {
    let mut plain = Plain::default();
    let mut t = snapshot(TransferState::Transferring);
    t.bytes = 100;
    let start = Instant::now();
    let mut lines = 0;
    for second in 0..=60u64 {
        t.bytes_done = (second / 10) * 5;
        let now = start + Duration::from_secs(second);
        lines += u32::from(plain.due(&t, now).is_some());
    }
    assert_eq!(lines, 7, "one at the start and one each ten seconds");
    t.bytes_done = 80;
    let soon = start + Duration::from_secs(62);
    assert!(plain.due(&t, soon).is_some(), "a step of ten percent");
    assert!(plain.due(&t, soon).is_none());
    assert!(!plain_line(&t).contains('\r'));
}

#[test]
fn symbols_follow_the_locale() {
    let with = |key: &'static str, value: &'static str| {
        Symbols::of_locale(move |k| (k == key).then(|| value.to_owned()))
    };
    assert_eq!(with("LANG", "de_DE.UTF-8"), Symbols::UNICODE);
    assert_eq!(with("LC_ALL", "C.utf8"), Symbols::UNICODE);
    assert_eq!(with("LANG", "C"), Symbols::ASCII);
    assert_eq!(Symbols::of_locale(|_| None), Symbols::ASCII);
    let both = |key: &str| match key {
        "LC_ALL" => Some("C".into()),
        _ => Some("en_GB.UTF-8".into()),
    };
    assert_eq!(Symbols::of_locale(both), Symbols::ASCII, "LC_ALL wins");
}

#[test]
fn a_hostile_name_cannot_reach_the_terminal() {
    let mut row = crate::cli::testing::row(0);
    row.path = "a\u{1b}[2Jb\n".into();
    assert!(!file_line(&row, 79).contains(['\u{1b}', '\n']));
}
