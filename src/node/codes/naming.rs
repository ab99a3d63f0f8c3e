//! Numbers for codes: such that nobody else has at the same relays.

use std::collections::HashSet;

use tokio::task::JoinSet;

use crate::fault::{CodeTrouble, Fault};
use crate::net::connector::Connector;
use crate::net::relay::NoHelp;
use crate::node::commands::random;
use crate::protocol::codes::NUMBER_MAX;
use crate::protocol::relay::NoNumber;

/// Up to which number is tried: short ones first, which are easy to say.
const TRIES: [u16; 8] = [
    99, 99, 999, 999, NUMBER_MAX, NUMBER_MAX, NUMBER_MAX, NUMBER_MAX,
];

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

/// A number that leads here at all our relays that are reached, and is none of `used`: those of
/// other codes of ours.
pub(in crate::node) async fn name(
    connector: &Connector,
    used: &HashSet<u16>,
) -> Result<u16, Fault> {
    let mut trouble = CodeTrouble::Busy;
    for most in TRIES {
        let number = u16::from_be_bytes(random()?) % most + 1;
        if used.contains(&number) {
            continue;
        }
        match claim(connector, number).await {
            Said::Ours => return Ok(number),
            Said::Taken => connector.release(number).await,
            said @ (Said::Busy | Said::Nothing) => {
                connector.release(number).await;
                if matches!(said, Said::Nothing) {
                    trouble = CodeTrouble::NoRelay;
                }
                break;
            }
        }
    }
    Err(Fault::Code { trouble })
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
