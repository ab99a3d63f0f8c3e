//! Pull streams between receivers: what is asked for comes, and what hostile peers make of it.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::net::pull_link::{PullAnswer, QuicPull, QuicPulled};
use crate::otm::serving::serve;
use crate::protocol::frame::encode;
use crate::protocol::groups::GROUP_LEN;
use crate::protocol::message::Stamp;
use crate::protocol::sessions::{FeedingKey, PULLS_MAX, Pull, PullHead, Pulled, Ticket};
use crate::transfer::limiter::Limiter;
use crate::transfer::shelf::Shelf;

impl Node {
    async fn pulled(&mut self) -> QuicPulled {
        loop {
            match self.arrival().await {
                Arrival::Pull { link, .. } => return link,
                Arrival::Connected(_) | Arrival::Addresses { .. } => {}
                other @ (Arrival::Disconnected(_)
                | Arrival::Transfer { .. }
                | Arrival::Code { .. }
                | Arrival::Text { .. }) => panic!("{other:?}"),
            }
        }
    }
}

fn head() -> PullHead {
    PullHead {
        member: TransferId([5; 16]),
        ticket: Ticket::new(&FeedingKey([1; 32]), PeerId::from_bytes([2; 32])),
    }
}

fn want(id: u32) -> Pull {
    Pull::Want {
        id,
        stamp: Stamp([7; 16]),
        group: id,
    }
}

#[tokio::test]
async fn what_is_asked_for_comes_in_any_order() {
    let (a, mut b) = Node::two().await;
    let connection = a.connect(&b).await;
    assert!(connection.understands_sessions());
    let mut pull = connection.pull(head()).await.unwrap();
    for id in 0..3 {
        pull.send(want(id)).await.unwrap();
    }
    pull.send(Pull::Forget { id: 1 }).await.unwrap();
    let mut pulled = b.pulled().await;
    assert_eq!(*pulled.head(), head());
    for expected in [want(0), want(1), want(2), Pull::Forget { id: 1 }] {
        assert_eq!(pulled.recv().await, Ok(Some(expected)));
    }
    let content = Bytes::from(vec![9; GROUP_LEN as usize]);
    let give = async {
        pulled.gone(2).await.unwrap();
        pulled.begin(0, content.len() as u32).await.unwrap();
        for piece in content.chunks(70_000) {
            pulled.give(piece).await.unwrap();
        }
        assert_eq!(pulled.recv().await, Ok(None));
    };
    let take = async {
        assert_eq!(pull.recv().await, Ok(PullAnswer::Gone { id: 2 }));
        let bytes = content.clone();
        assert_eq!(pull.recv().await, Ok(PullAnswer::Content { id: 0, bytes }));
        pull.close().await;
    };
    tokio::join!(give, take);
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn waiting_for_an_answer_can_be_broken_off_without_losing_any_of_it() {
    let (a, mut b) = Node::two().await;
    let mut pull = a.connect(&b).await.pull(head()).await.unwrap();
    pull.send(want(0)).await.unwrap();
    let mut pulled = b.pulled().await;
    pulled.begin(0, 6).await.unwrap();
    pulled.give(b"abc").await.unwrap();
    // Polled until all that has come is taken, and dropped.
    let wait = std::time::Duration::from_millis(200);
    assert!(tokio::time::timeout(wait, pull.recv()).await.is_err());
    pulled.give(b"def").await.unwrap();
    let bytes = Bytes::from_static(b"abcdef");
    assert_eq!(pull.recv().await, Ok(PullAnswer::Content { id: 0, bytes }));
}

#[tokio::test]
async fn one_who_is_turned_away_hears_it() {
    let (a, mut b) = Node::two().await;
    let connection = a.connect(&b).await;
    let mut pull = connection.pull(head()).await.unwrap();
    b.pulled().await.refuse(Code::UnknownTransfer).await;
    let refused = Err(LinkError::Closed(Code::UnknownTransfer));
    assert_eq!(pull.recv().await, refused);
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn more_than_a_group_is_an_offence_before_any_memory_is_taken() {
    let (a, mut b) = Node::two().await;
    let connection = a.connect(&b).await;
    let mut pull = connection.pull(head()).await.unwrap();
    let mut pulled = b.pulled().await;
    pulled.begin(0, GROUP_LEN as u32 + 1).await.unwrap();
    let offence = LinkError::Offence(Offence::WrongGroup);
    assert_eq!(pull.recv().await, Err(offence));
    assert!(connection.is_closed());
}

/// Asks for so many groups that may still come, where nothing is there.
async fn wait_for(a: &Node, b: &mut Node, wants: usize) -> (PeerConnection, QuicPull) {
    let connection = a.connect(b).await;
    let mut pull = connection.pull(head()).await.unwrap();
    let limiter = Limiter::new(None).into();
    tokio::spawn(serve(b.pulled().await, Arc::<Shelf>::default(), limiter));
    for id in 0..wants as u32 {
        pull.send(want(id)).await.unwrap();
    }
    (connection, pull)
}

#[tokio::test]
async fn more_requests_than_may_be_open_are_an_offence() {
    let (a, mut b) = Node::two().await;
    let (connection, mut pull) = wait_for(&a, &mut b, PULLS_MAX + 1).await;
    let closed = tokio::time::timeout(SOON, pull.recv()).await;
    assert_eq!(closed, Ok(Err(LinkError::Closed(Code::Offence))));
    assert!(connection.is_closed());
}

#[tokio::test]
async fn as_many_requests_as_may_be_open_are_waited_for_and_one_taken_back_makes_room() {
    let (a, mut b) = Node::two().await;
    let (connection, mut pull) = wait_for(&a, &mut b, PULLS_MAX).await;
    for id in 0..2 {
        pull.send(Pull::Forget { id }).await.unwrap();
        pull.send(want(PULLS_MAX as u32 + id)).await.unwrap();
    }
    // Ends without an answer when all of it was taken in.
    pull.close().await;
    assert!(!connection.is_closed());
}

#[test]
fn answers_are_small() {
    let longest = encode(&Pulled::Content {
        id: u32::MAX,
        len: u32::MAX,
    });
    assert!(longest.unwrap().len() < 32);
}
