//! Numbers of one-time codes at relays.

use super::*;
use crate::net::relay::{ASKS_MAX, NoHelp};
use crate::protocol::relay::{ALPN_RELAY, NoNumber};

const NOBODY: NoHelp = NoHelp::Says(NoNumber::Nobody);

#[tokio::test]
async fn a_number_leads_to_who_has_claimed_it_as_long_as_it_needs_it() {
    let bed = Bed::new().await;
    let (a, b) = (bed.listener().await, bed.listener().await);
    let stranger = Node::new("stranger").await;
    let hint = bed.hint();
    let find = || stranger.connector.find(&hint, 7);
    assert_eq!(find().await, Err(NOBODY));
    assert_eq!(a.connector.claim(&bed.hint(), 7).await, Ok(()));
    assert_eq!(find().await, Ok(a.id()));
    let taken = b.connector.claim(&bed.hint(), 7).await;
    assert_eq!(taken, Err(NoHelp::Says(NoNumber::Taken)));
    // What was not got is not given back either.
    b.connector.release(7).await;
    assert_eq!(find().await, Ok(a.id()));
    a.connector.release(7).await;
    // The answer to this comes after the relay has read that.
    a.connector.claim(&bed.hint(), 8).await.unwrap();
    assert_eq!(find().await, Err(NOBODY));
    a.net.shutdown().await;
    until("its end", || bed.relay.stats().peers < 3).await;
    let gone = stranger.connector.find(&bed.hint(), 8).await;
    assert_eq!(gone, Err(NOBODY));
}

#[tokio::test]
async fn a_number_is_claimed_again_at_a_relay_that_comes_back() {
    let bed = Bed::new().await;
    let a = bed.listener().await;
    a.connector.claim(&bed.hint(), 7).await.unwrap();
    let (hint, port) = (bed.hint(), bed.relay.local_port());
    bed.relay.shutdown().await;
    let mut relays = a.net.relays();
    let away = relays.wait_for(|all| all[0].state == RelayState::Away);
    tokio::time::timeout(SOON, away).await.unwrap().unwrap();
    let bed = Bed::again(bed.identity, port).await;
    there(&a).await;
    // The answer to this comes after the relay has read what was said before.
    a.connector.claim(&bed.hint(), 8).await.unwrap();
    let b = Node::new("b").await;
    assert_eq!(b.connector.find(&hint, 7).await, Ok(a.id()));
}

#[tokio::test]
async fn a_relay_that_knows_no_numbers_is_never_asked_and_works_as_before() {
    let identity = Identity::generate().unwrap();
    let served = crate::net::relay::serve_as(&identity, options(0), &[ALPN_RELAY]);
    let relay = served.await.unwrap();
    let bed = Bed { identity, relay };
    let (a, b) = (bed.listener().await, Node::new("b").await);
    assert_eq!(a.connector.claim(&bed.hint(), 7).await, Err(NoHelp::Away));
    assert_eq!(b.connector.find(&bed.hint(), 7).await, Err(NoHelp::Away));
    let dial = through(bed.hint(), &a);
    let connected = b.connector.prepare_connection(dial, SOON).await;
    assert_eq!(connected.unwrap().id(), a.id());
}

#[tokio::test]
async fn whoever_asks_for_many_numbers_is_told_to_wait_and_calls_go_on() {
    let bed = Bed::new().await;
    let (a, b) = (bed.listener().await, Node::new("b").await);
    let mut busy = 0;
    for number in 1..=ASKS_MAX as u16 + 5 {
        let found = b.connector.find(&bed.hint(), number).await;
        busy += usize::from(found == Err(NoHelp::Says(NoNumber::Busy)));
    }
    assert_eq!(busy, 5);
    let dial = through(bed.hint(), &a);
    let connected = b.connector.prepare_connection(dial, SOON).await;
    assert_eq!(connected.unwrap().id(), a.id());
}
