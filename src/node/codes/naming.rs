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
/// How long is listened for the numbers of others nearby: they answer within 0.12 s (RFC 6762,
/// section 6), and the first question may be lost.
const LISTEN: Duration = Duration::from_millis(400);

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
    let mut nearby = Nearby {
        heard: near.seek_codes(),
        until: Instant::now() + LISTEN,
    };
    let mut trouble = CodeTrouble::Busy;
    for most in TRIES {
        let number = u16::from_be_bytes(random()?) % most + 1;
        if used.contains(&number) {
            continue;
        }
        let said = claim(connector, number).await;
        let reach = match said {
            Said::Ours => Some(CodeReach::Anywhere),
            Said::Busy | Said::Nothing if near.has_codes() => Some(CodeReach::Nearby),
            Said::Taken | Said::Busy | Said::Nothing => None,
        };
        if let Some(reach) = reach
            && !nearby.has(number).await
        {
            return Ok((number, reach));
        }
        connector.release(number).await;
        if reach.is_none() && !matches!(said, Said::Taken) {
            if matches!(said, Said::Nothing) {
                trouble = CodeTrouble::NoRelay;
            }
            break;
        }
    }
    Err(Fault::Code { trouble })
}

/// What others nearby have.
struct Nearby {
    heard: Option<watch::Receiver<NearCodes>>,
    until: Instant,
}

impl Nearby {
    async fn has(&mut self, number: u16) -> bool {
        let Some(heard) = &self.heard else {
            return false;
        };
        sleep_until(self.until).await;
        heard.borrow().iter().any(|code| code.number == number)
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
