//! What the requests endpoint sees, told to the list of who is near.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use super::legacy::NAME_CHARS_MAX;
use crate::net::discovery::{self, Input, OriginalId, Source, Who};
use crate::net::requests::Sighting;

/// What was told, and when that was heard.
type Told = BTreeMap<(Source, Who), (discovery::Sighting, Instant)>;

/// Tells the list who appears, is heard again and goes, until either end is gone.
pub(super) async fn tell(
    mut sightings: watch::Receiver<Vec<Sighting>>,
    inputs: mpsc::Sender<Input>,
) {
    let mut told = Told::new();
    loop {
        let seen = sum(&sightings.borrow_and_update());
        for input in news(&mut told, seen) {
            if inputs.send(input).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = sightings.changed() => if changed.is_err() { return },
            () = inputs.closed() => return,
        }
    }
}

/// A picture with one entry for each that is there, whatever number of addresses it has.
fn sum(seen: &[Sighting]) -> Told {
    let mut all = Told::new();
    for sighting in seen {
        let (source, who, name, addr, heard) = match sighting {
            Sighting::Original {
                record,
                addr,
                requests,
                last_seen,
            } => {
                let who = Who::Original(OriginalId {
                    id: record.id,
                    requests: *requests,
                });
                (Source::Original, who, &record.name, addr, last_seen)
            }
            Sighting::Own {
                peer_id,
                name,
                addr,
                last_seen,
            } => {
                let who = Who::Key(*peer_id);
                (Source::OriginalKeys, who, name, addr, last_seen)
            }
        };
        let entry = all.entry((source, who)).or_insert_with(|| {
            let sighting = discovery::Sighting {
                who,
                name: String::new(),
                addrs: Vec::new(),
                unreached: Vec::new(),
            };
            (sighting, *heard)
        });
        entry.0.name = name.trim().chars().take(NAME_CHARS_MAX).collect();
        entry.0.addrs.push(*addr);
        entry.1 = entry.1.max(*heard);
    }
    all
}

/// What is different. Who is in the picture only because nothing else was heard since is not told
/// again: the list must not take that for a sign of life.
fn news(told: &mut Told, seen: Told) -> Vec<Input> {
    let gone = told.keys().filter(|key| !seen.contains_key(*key));
    let mut news: Vec<Input> = gone
        .map(|(source, who)| Input::Gone(*source, *who))
        .collect();
    for (key, now) in &seen {
        if told.get(key) != Some(now) {
            news.push(Input::Seen(key.0, now.0.clone()));
        }
    }
    *told = seen;
    news
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::peer::PeerId;
    use crate::protocol::legacy::{LegacyId, Record, Status};

    fn original(host: u8, name: &str, last_seen: Instant) -> Sighting {
        let ip = [10, 0, 0, host].into();
        Sighting::Original {
            record: Record {
                id: LegacyId::DEFAULT_PROFILE,
                name: name.into(),
                ip,
                stream_port: 3485,
                requests_port: 3486,
                status: Status::Online,
            },
            addr: SocketAddr::new(ip, 3485),
            requests: SocketAddr::new(ip, 3486),
            last_seen,
        }
    }

    fn own(host: u8, last_seen: Instant) -> Sighting {
        Sighting::Own {
            peer_id: PeerId::from_bytes([7; 32]),
            name: "ours".into(),
            addr: SocketAddr::new([10, 0, 0, host].into(), 4000),
            last_seen,
        }
    }

    #[test]
    fn everybody_is_told_once_and_again_only_when_it_was_heard_again() {
        let now = Instant::now();
        let mut told = Told::new();
        let picture = [
            original(1, " old ", now),
            original(2, "old", now),
            own(3, now),
        ];
        let first = news(&mut told, sum(&picture));
        let names = first.iter().map(|input| match input {
            Input::Seen(_, sighting) => sighting.name.as_str(),
            other @ (Input::Gone(..)
            | Input::Alive(_)
            | Input::Known(_)
            | Input::Codes(_)
            | Input::SeekCodes(_)
            | Input::Unreached(_)
            | Input::Reached(_)) => panic!("{other:?}"),
        });
        // The same id at two computers is two originals.
        assert_eq!(names.collect::<Vec<_>>(), ["ours", "old", "old"]);
        assert_eq!(news(&mut told, sum(&picture)), []);
        let later = now + Duration::from_secs(1);
        let picture = [
            original(1, " old ", later),
            original(2, "old", now),
            own(3, now),
        ];
        let again = news(&mut told, sum(&picture));
        assert!(
            matches!(&again[..], [Input::Seen(Source::Original, s)]
                if s.addrs == ["10.0.0.1:3485".parse().unwrap()]),
            "{again:?}"
        );
        let gone = news(&mut told, sum(&picture[1..2]));
        assert_eq!(gone.len(), 2);
        assert!(gone.iter().all(|input| matches!(input, Input::Gone(..))));
    }

    #[test]
    fn one_program_at_two_addresses_is_one_entry() {
        let now = Instant::now();
        let all = news(&mut Told::new(), sum(&[own(1, now), own(2, now)]));
        let [Input::Seen(Source::OriginalKeys, sighting)] = &all[..] else {
            panic!("{all:?}");
        };
        assert_eq!(sighting.addrs.len(), 2);
    }
}
