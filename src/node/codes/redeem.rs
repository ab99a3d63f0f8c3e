//! A code that was typed here: who may have made it, and whether he has.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::CodeNews;
use crate::fault::{CodeTrouble, Fault};
use crate::net::code_link::NotProven;
use crate::net::connector::Connector;
use crate::net::discovery::Near;
use crate::net::link::LinkError;
use crate::net::relay::NoHelp;
use crate::node::api::{ReceiveRule, Reply};
use crate::node::dial::Callee;
use crate::peer::PeerId;
use crate::protocol::codes::OneTimeCode;
use crate::protocol::link_uri::RelayHint;
use crate::protocol::message::Code;
use crate::protocol::relay::NoNumber;

/// Peers that are asked whether they have made the code: each learns whether one guess of its own
/// is right.
const CANDIDATES_MAX: usize = 3;
/// How often, and with which pause, a relay is asked that knows nobody: the sender may just be
/// coming back to it.
const ASKS: u32 = 2;
const ASK_AGAIN: Duration = Duration::from_millis(1500);
/// How long a connection to one of them may take.
const CONNECT: Duration = Duration::from_secs(15);
/// What to call the sender before he has said his name.
const SENDER: &str = "the sender";

/// A code, and what is needed to use it.
pub(in crate::node) struct Redeem {
    pub(in crate::node) code: OneTimeCode,
    pub(in crate::node) rule: Option<ReceiveRule>,
    pub(in crate::node) us: PeerId,
    pub(in crate::node) connector: Connector,
    pub(in crate::node) near: Near,
    pub(in crate::node) news: mpsc::Sender<CodeNews>,
}

impl Redeem {
    /// Finds the sender, and has both sides show that they know the code.
    pub(in crate::node) async fn run(self) -> Result<Reply, Fault> {
        let relays = self.connector.relays();
        if relays.is_empty() {
            return Err(trouble(CodeTrouble::NoWay));
        }
        let mut asked = JoinSet::new();
        for relay in relays {
            asked.spawn(ask(self.connector.clone(), relay, self.code.number()));
        }
        let mut tried = Vec::new();
        let mut fault = trouble(CodeTrouble::NoRelay);
        while let Some(found) = asked.join_next().await {
            match found {
                Ok((relay, Ok(peer))) => {
                    if tried.contains(&peer) || tried.len() >= CANDIDATES_MAX {
                        continue;
                    }
                    tried.push(peer);
                    match self.try_with(peer, relay).await {
                        Ok(reply) => return Ok(reply),
                        // Somebody has had his guess at the code: nothing else matters as much.
                        Err(_) if fault == trouble(CodeTrouble::Wrong) => {}
                        Err(failed) => fault = failed,
                    }
                }
                // Whoever was tried says more.
                Ok((_, Err(NoHelp::Says(why)))) if tried.is_empty() => {
                    fault = trouble(match why {
                        NoNumber::Busy => CodeTrouble::Busy,
                        NoNumber::Nobody | NoNumber::Taken => CodeTrouble::Nobody,
                    });
                }
                Ok((_, Err(_))) | Err(_) => {}
            }
        }
        Err(fault)
    }

    async fn try_with(&self, peer: PeerId, relay: RelayHint) -> Result<Reply, Fault> {
        if peer == self.us {
            return Err(Fault::Invalid {
                why: "this code was made on this computer; it is for another one".into(),
            });
        }
        let callee = Callee {
            expect: Some(peer),
            addrs: Vec::new(),
            relays: vec![relay],
            near: self.near.clone(),
            host: None,
            shown: SENDER.into(),
        };
        let connection = callee.connect(&self.connector, CONNECT).await?;
        let name = connection.name().to_owned();
        let failed = |error| match error {
            NotProven::Wrong => trouble(CodeTrouble::Wrong),
            NotProven::Unknown => Fault::Version {
                peer: name.clone(),
                peer_is_newer: None,
            },
            NotProven::Link(LinkError::Offence(offence)) => Fault::Misbehaved {
                peer: name.clone(),
                offence: offence.to_string(),
            },
            NotProven::Link(LinkError::Closed(Code::Busy)) => trouble(CodeTrouble::Busy),
            NotProven::Link(error) => {
                tracing::info!(%error, "a code could not be used");
                Fault::PeerOffline { peer: name.clone() }
            }
        };
        let proven = connection.prove(&self.code, self.us).await;
        let proven = proven.map_err(failed)?;
        let transfer = proven.transfer();
        let (noted, is_noted) = oneshot::channel::<bool>();
        let agreed = CodeNews::Agreed {
            peer,
            transfer,
            rule: self.rule.clone(),
            noted,
        };
        let _ = self.news.send(agreed).await;
        if is_noted.await != Ok(true) {
            return Err(Fault::Invalid {
                why: "too many codes that were typed here wait for their files already".into(),
            });
        }
        // The offer comes now, or when the sender has found us again.
        if let Err(error) = proven.ready().await {
            tracing::info!(%error, "the sender of a code was lost");
        }
        Ok(Reply::Agreed { peer, transfer })
    }
}

async fn ask(
    connector: Connector,
    relay: RelayHint,
    number: u16,
) -> (RelayHint, Result<PeerId, NoHelp>) {
    let mut asks = 1;
    loop {
        let found = connector.find(&relay, number).await;
        if found != Err(NoHelp::Says(NoNumber::Nobody)) || asks == ASKS {
            return (relay, found);
        }
        asks += 1;
        sleep(ASK_AGAIN).await;
    }
}

fn trouble(trouble: CodeTrouble) -> Fault {
    Fault::Code { trouble }
}
