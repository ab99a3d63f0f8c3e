//! A code that was typed here: who may have made it, and whether he has.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

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

/// How often peers are asked whether they have made the code: each learns whether one guess of its
/// own is right.
const CANDIDATES_MAX: usize = 4;
/// How often, and with which pause, a relay is asked that knows nobody: the sender may just be
/// coming back to it.
const ASKS: u32 = 2;
const ASK_AGAIN: Duration = Duration::from_millis(1500);
/// How long a connection to one of them may take.
const CONNECT: Duration = Duration::from_secs(15);
/// The same for somebody nearby, who may have gone without a word.
const CONNECT_NEAR: Duration = Duration::from_secs(5);
/// How long the answers of those nearby are waited for.
const LOOK_AROUND: Duration = Duration::from_secs(3);
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

/// Somebody who may have made the code.
#[derive(Debug)]
struct Candidate {
    peer: PeerId,
    addrs: Vec<SocketAddr>,
    relays: Vec<RelayHint>,
    /// How long a connection may take.
    connect: Duration,
}

impl Redeem {
    /// Finds the sender, and has both sides show that they know the code.
    pub(in crate::node) async fn run(self) -> Result<Reply, Fault> {
        let relays = self.connector.relays();
        if relays.is_empty() && !self.near.has_codes() {
            return Err(trouble(CodeTrouble::NoWay));
        }
        let mut fault = trouble(match relays.is_empty() {
            true => CodeTrouble::Nobody,
            false => CodeTrouble::NoRelay,
        });
        // Room for one each: whoever finds more waits until they have been tried.
        let (tell, mut found) = mpsc::channel(1);
        let mut asked = JoinSet::new();
        for relay in relays {
            let (connector, tell) = (self.connector.clone(), tell.clone());
            asked.spawn(ask(connector, relay, self.code.number(), tell));
        }
        asked.spawn(look_around(self.near.clone(), self.code.number(), tell));
        // Whoever has had his guess, and how many were tried.
        let (mut guessed, mut tries) = (Vec::new(), 0);
        while let Some(found) = found.recv().await {
            match found {
                Ok(candidate) => {
                    if guessed.contains(&candidate.peer) || tries == CANDIDATES_MAX {
                        continue;
                    }
                    tries += 1;
                    let peer = candidate.peer;
                    match self.try_with(candidate).await {
                        Ok(reply) => return Ok(reply),
                        Err(failed) => {
                            let is_guess = failed == trouble(CodeTrouble::Wrong);
                            if is_guess {
                                guessed.push(peer);
                            }
                            // Somebody has had his guess: nothing else matters as much.
                            if is_guess || guessed.is_empty() {
                                fault = failed;
                            }
                        }
                    }
                }
                // Whoever was tried says more.
                Err(why) if tries == 0 => {
                    fault = trouble(match why {
                        NoNumber::Busy => CodeTrouble::Busy,
                        NoNumber::Nobody | NoNumber::Taken => CodeTrouble::Nobody,
                    });
                }
                Err(_) => {}
            }
        }
        Err(fault)
    }

    async fn try_with(&self, candidate: Candidate) -> Result<Reply, Fault> {
        let peer = candidate.peer;
        if peer == self.us {
            return Err(Fault::Invalid {
                why: "this code was made on this computer; it is for another one".into(),
            });
        }
        let callee = Callee {
            expect: Some(peer),
            addrs: candidate.addrs,
            relays: candidate.relays,
            near: self.near.clone(),
            host: None,
            shown: SENDER.into(),
        };
        let connect = candidate.connect;
        let connection = callee.connect(&self.connector, connect).await?;
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

/// Candidates, or why a relay knows none.
type Found = mpsc::Sender<Result<Candidate, NoNumber>>;

/// Asks a relay.
async fn ask(connector: Connector, relay: RelayHint, number: u16, tell: Found) {
    let mut asks = 1;
    let found = loop {
        let found = connector.find(&relay, number).await;
        if found != Err(NoHelp::Says(NoNumber::Nobody)) || asks == ASKS {
            break found;
        }
        asks += 1;
        sleep(ASK_AGAIN).await;
    };
    let found = match found {
        Ok(peer) => Ok(Candidate {
            peer,
            addrs: Vec::new(),
            relays: vec![relay],
            connect: CONNECT,
        }),
        Err(NoHelp::Says(why)) => Err(why),
        Err(NoHelp::Away) => return,
    };
    let _ = tell.send(found).await;
}

/// Asks the computers nearby.
async fn look_around(near: Near, number: u16, tell: Found) {
    let Some(mut codes) = near.seek_codes() else {
        return;
    };
    let until = Instant::now() + LOOK_AROUND;
    let mut told = HashSet::new();
    loop {
        let heard = codes.borrow_and_update().clone();
        for code in heard.iter().filter(|code| code.number == number) {
            if told.insert(code.peer) {
                let candidate = Candidate {
                    peer: code.peer,
                    addrs: code.addrs.clone(),
                    relays: Vec::new(),
                    connect: CONNECT_NEAR,
                };
                let _ = tell.send(Ok(candidate)).await;
            }
        }
        match timeout_at(until, codes.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

fn trouble(trouble: CodeTrouble) -> Fault {
    Fault::Code { trouble }
}
