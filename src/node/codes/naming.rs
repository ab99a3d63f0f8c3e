//! Numbers for codes: such that nobody else has at the same relays, nor nearby.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::CodeReach;
use crate::fault::{CodeTrouble, Fault};
use crate::net::connector::Connector;
use crate::net::discovery::{Near, NearCodes};
use crate::net::relay::NoHelp;
use crate::node::commands::random;
use crate::protocol::codes::NUMBER_MAX;
use crate::protocol::relay::NoNumber;

/// Up to which number is tried: short ones first, which are easy to say.
const TRIES: [u16; 8] = [
    99, 99, 999, 999, NUMBER_MAX, NUMBER_MAX, NUMBER_MAX, NUMBER_MAX,
];
/// Without a relay, where nobody can say that a number is taken but those who are heard.
const NEAR_TRIES_MIN: u16 = 999;
/// How long is listened for the numbers of others nearby: most answer within 0.12 s (RFC 6762,
/// section 6).
const LISTEN: Duration = Duration::from_millis(400);
/// What was heard longer ago is asked for anew.
const FRESH: Duration = Duration::from_secs(5);

/// What the relays say to a number.
enum Said {
    /// It is ours at one of them at least, and nobody else's at the others.
    Ours,
    /// It is somebody else's.
    Taken,
    /// They want to say nothing more.
    Busy,
    /// Nothing.
    Nothing,
}

/// A number that leads here at all our relays that are reached, and nearby, and is none of `used`:
/// those of other codes of ours. Where no relay is reached, it is for those nearby alone.
pub(in crate::node) async fn name(
    connector: &Connector,
    near: &Near,
    used: &HashSet<u16>,
) -> Result<(u16, CodeReach), Fault> {
    let mut nearby = Nearby::new(near).await;
    let mut trouble = CodeTrouble::Busy;
    let least = match connector.relays().is_empty() {
        true => NEAR_TRIES_MIN,
        false => 0,
    };
    for most in TRIES.map(|most| most.max(least)) {
        let number = u16::from_be_bytes(random()?) % most + 1;
        if used.contains(&number) {
            continue;
        }
        let reach = match claim(connector, number).await {
            Said::Ours => Some(CodeReach::Anywhere),
            // It will be theirs, too, when they are reached again.
            Said::Nothing if near.has_codes() => Some(CodeReach::Nearby),
            Said::Nothing => {
                trouble = CodeTrouble::NoRelay;
                break;
            }
            Said::Busy => {
                connector.release(number).await;
                break;
            }
            Said::Taken => None,
        };
        match reach {
            Some(reach) if !nearby.has(number).await => return Ok((number, reach)),
            Some(_) | None => connector.release(number).await,
        }
    }
    Err(Fault::Code { trouble })
}

/// What others nearby have.
struct Nearby<'a> {
    near: &'a Near,
    heard: Option<watch::Receiver<NearCodes>>,
    asked: Instant,
}

impl<'a> Nearby<'a> {
    async fn new(near: &'a Near) -> Self {
        Self {
            heard: near.seek_codes(None).await,
            asked: Instant::now(),
            near,
        }
    }

    async fn has(&mut self, number: u16) -> bool {
        if self.asked.elapsed() > FRESH {
            *self = Self::new(self.near).await;
        }
        let Some(heard) = &self.heard else {
            return false;
        };
        sleep_until(self.asked + LISTEN).await;
        heard.borrow().numbers.contains(&number)
    }
}

async fn claim(connector: &Connector, number: u16) -> Said {
    let mut claims = JoinSet::new();
    for relay in connector.relays() {
        let connector = connector.clone();
        claims.spawn(async move { connector.claim(&relay, number).await });
    }
    let mut said = Said::Nothing;
    while let Some(claimed) = claims.join_next().await {
        match claimed {
            Ok(Ok(())) => said = Said::Ours,
            Ok(Err(NoHelp::Says(NoNumber::Taken))) => return Said::Taken,
            Ok(Err(NoHelp::Says(_))) if matches!(said, Said::Nothing) => said = Said::Busy,
            Ok(Err(NoHelp::Says(_) | NoHelp::Away)) | Err(_) => {}
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::discovery::HeardCodes;

    #[tokio::test(start_paused = true)]
    async fn a_number_that_is_heard_nearby_is_somebody_elses() {
        let (pictures, heard) = watch::channel(NearCodes::default());
        let near = Near::nobody();
        let mut nearby = Nearby {
            near: &near,
            heard: Some(heard),
            asked: Instant::now(),
        };
        tokio::spawn(async move {
            tokio::time::sleep(LISTEN / 2).await;
            let numbers = [7].into();
            let found = Vec::new();
            pictures.send_replace(HeardCodes { numbers, found }.into());
            std::future::pending::<()>().await;
        });
        assert!(nearby.has(7).await);
        assert!(!nearby.has(8).await);
    }
}
