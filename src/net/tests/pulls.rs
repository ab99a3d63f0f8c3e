//! Pull streams between receivers: what is asked for comes, and what hostile peers make of it.

use bytes::Bytes;

use super::*;
use crate::net::pull_link::{PullAnswer, QuicPulled};
use crate::protocol::frame::encode;
use crate::protocol::groups::GROUP_LEN;
use crate::protocol::message::Stamp;
use crate::protocol::sessions::{FeedingKey, Pull, PullHead, Pulled, Ticket};

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

#[test]
fn answers_are_small() {
    let longest = encode(&Pulled::Content {
        id: u32::MAX,
        len: u32::MAX,
    });
    assert!(longest.unwrap().len() < 32);
}
