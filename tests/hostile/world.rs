//! A node that asks its person, and an honest transfer to it that runs all the time.

use std::path::PathBuf;

use peerconnect::config::Setting;
use peerconnect::fault::Fault;
use peerconnect::net::link::Offence;
use peerconnect::node::api::{Command, Decision};
use peerconnect::protocol::message::{Entry, TransferId};
use peerconnect::transfer::state::TransferState;

use super::peer::{Frames, OFFENCE, Peer};
use crate::common::{Shape, Site, content, tree};

/// Long enough that the honest transfer outlasts what is done meanwhile.
const HONEST_LEN: usize = 12_000_000;
const HONEST_RATE: u64 = 1_000_000;

pub struct World {
    /// The node under attack.
    pub to: Site,
    from: Site,
    honest: TransferId,
    file: PathBuf,
}

impl World {
    pub async fn start() -> Self {
        let (to, from) = (Shape::asking("to").start(), Shape::new("from").start());
        from.call(Command::Set(Setting::RateLimit(Some(HONEST_RATE))))
            .await;
        let file = from.file("honest", &content(9, HONEST_LEN));
        let honest = from.send(&to.link(), &[&file]).await;
        let world = Self {
            to,
            from,
            honest,
            file,
        };
        world.accept(honest).await;
        world
    }

    pub async fn call(&self) -> Peer {
        Peer::call(&self.to.addr()).await
    }

    /// Waits for the question and says yes.
    pub async fn accept(&self, transfer: TransferId) {
        self.asked(transfer).await;
        let decision = Decision::Accept {
            folder: None,
            only: None,
            pass_on: true,
        };
        self.to.call(Command::Answer { transfer, decision }).await;
    }

    /// Waits until the person is asked.
    pub async fn asked(&self, transfer: TransferId) {
        let asked = |o: &peerconnect::node::api::Overview| {
            o.transfer(transfer).and_then(|t| t.question.clone())
        };
        self.to.until(asked).await;
    }

    /// A peer whose offer of these entries was accepted and planned.
    pub async fn accepted(&self, transfer: TransferId, entries: &[Entry]) -> (Peer, Frames) {
        let peer = self.call().await;
        let mut stream = peer.offer_all(transfer, entries).await;
        self.accept(transfer).await;
        stream.plan(entries.len() as u32).await;
        (peer, stream)
    }

    /// The peer is disconnected for exactly this offence.
    pub async fn offended(&self, peer: &Peer, transfer: Option<TransferId>, offence: Offence) {
        let (code, text) = peer.closed().await;
        assert_eq!(code, OFFENCE, "{offence:?}: {text}");
        let Some(transfer) = transfer.filter(|_| text.is_empty()) else {
            return assert_eq!(text, offence.to_string());
        };
        let end = self.to.ended(transfer).await;
        assert_eq!(end.state, TransferState::Failed, "{offence:?}");
        match end.fault {
            Some(Fault::Misbehaved { offence: told, .. }) => {
                assert_eq!(told, offence.to_string());
            }
            other => panic!("{offence:?}: {other:?}"),
        }
    }

    /// No file or part with this in its name is there.
    pub fn has_nothing_of(&self, name: &str) {
        let tree = tree(&self.to.inbox());
        let left: Vec<&String> = tree.keys().filter(|path| path.contains(name)).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// The honest transfer completes and the node is alive.
    pub async fn finish(self) {
        self.from.call(Command::Set(Setting::RateLimit(None))).await;
        let end = self.from.completed(self.honest).await;
        assert_eq!(end.files_done, 1);
        self.to.completed(self.honest).await;
        let copy = std::fs::read(self.to.inbox().join("honest")).unwrap();
        assert_eq!(copy, std::fs::read(&self.file).unwrap());
        // A new peer is served as ever.
        let again = self.from.file("after", b"x");
        let id = self.from.send(&self.to.link(), &[&again]).await;
        self.accept(id).await;
        self.from.completed(id).await;
    }
}
