use std::net::Ipv4Addr;

use mainline::{MutableItem, Testnet, TestnetBuilder};

use super::*;
use crate::identity::Identity;
use crate::net::endpoint::{EndpointOptions, bind};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A DHT in this process.
fn network() -> Testnet {
    let mut builder = TestnetBuilder::new(10);
    builder.bind_address(Ipv4Addr::LOCALHOST).build().unwrap()
}

fn dht(wanted: &DhtUse) -> Dht {
    let dht = Dht::new(HERE);
    dht.want(wanted.clone());
    dht
}

fn begin_at(network: &Testnet) -> DhtUse {
    DhtUse {
        search: true,
        publish: true,
        nodes: network.bootstrap.clone(),
    }
}

/// Made so many seconds ago.
fn entry(ago: u64, addr: &str) -> Entry {
    Entry::of(unix_now() - ago, &[addr.parse().unwrap()], &[])
}

async fn found(dht: &Dht, id: PeerId) -> Option<String> {
    let found = dht.find(id).await?;
    Some(found.addrs[0].to_string())
}

#[tokio::test]
async fn who_knows_the_id_finds_what_its_owner_wrote_last() {
    let network = network();
    let wanted = begin_at(&network);
    let owner = Identity::generate().unwrap();
    let writer = dht(&wanted);
    let first = entry(9, "203.0.113.1:1");
    assert!(writer.write(&first, &owner, &wanted).await);
    assert_eq!(
        found(&dht(&wanted), owner.id()).await.as_deref(),
        Some("203.0.113.1:1")
    );
    assert!(
        writer
            .write(&entry(8, "203.0.113.2:2"), &owner, &wanted)
            .await
    );
    let reader = dht(&wanted);
    assert_eq!(
        found(&reader, owner.id()).await.as_deref(),
        Some("203.0.113.2:2")
    );
    let stranger = Identity::generate().unwrap();
    assert_eq!(reader.find(stranger.id()).await, None);
    // What was found is kept for a while, and nothing is asked at all once it is switched off.
    drop(network);
    assert!(found(&reader, owner.id()).await.is_some());
    reader.want(DhtUse::default());
    assert_eq!(reader.find(owner.id()).await, None);
}

#[tokio::test]
async fn what_others_put_there_is_not_believed_and_the_owner_writes_over_it() {
    let network = network();
    let wanted = begin_at(&network);
    let owner = Identity::generate().unwrap();
    let vandal = dht(&wanted);
    let running = vandal.running(&wanted).await.unwrap();
    // Everybody who knows the id has the key of the place.
    let junk = MutableItem::new(place(owner.id()), b"junk", i64::MAX / 2, None);
    let put = running.ask(|dht| async move { dht.put_mutable(junk, None).await });
    put.await.unwrap().unwrap();
    assert_eq!(dht(&wanted).find(owner.id()).await, None);
    let true_one = entry(7, "203.0.113.7:7");
    assert!(dht(&wanted).write(&true_one, &owner, &wanted).await);
    let at = found(&dht(&wanted), owner.id()).await;
    assert_eq!(at.as_deref(), Some("203.0.113.7:7"));
}

#[tokio::test]
async fn an_old_entry_that_others_put_there_again_is_not_believed() {
    let network = network();
    let wanted = begin_at(&network);
    let owner = Identity::generate().unwrap();
    let old = entry(25 * 60 * 60, "203.0.113.1:1");
    assert!(dht(&wanted).write(&old, &owner, &wanted).await);
    assert_eq!(dht(&wanted).find(owner.id()).await, None);
    // Nor is one that says nothing any more.
    let nothing = Entry::of(unix_now(), &[], &[]);
    assert!(dht(&wanted).write(&nothing, &owner, &wanted).await);
    assert_eq!(dht(&wanted).find(owner.id()).await, None);
}

#[tokio::test]
async fn a_node_that_breaks_is_no_answer_and_the_next_one_works() {
    let network = network();
    let wanted = begin_at(&network);
    let owner = Identity::generate().unwrap();
    let dht = dht(&wanted);
    let running = dht.running(&wanted).await.unwrap();
    let broke = running.ask(|_| async { panic!("as where others answer oddly") });
    assert_eq!(broke.await, None::<()>);
    let next = dht.running(&wanted).await.unwrap();
    assert!(!Arc::ptr_eq(&running, &next));
    let entry = entry(1, "203.0.113.1:1");
    assert!(dht.write(&entry, &owner, &wanted).await);
}

#[tokio::test]
async fn a_dht_that_is_not_there_is_said_to_be_away() {
    let wanted = DhtUse {
        nodes: vec!["127.0.0.1:9".into()],
        search: true,
        publish: true,
    };
    let owner = Identity::generate().unwrap();
    let alone = dht(&wanted);
    assert!(
        !alone
            .write(&entry(1, "203.0.113.1:1"), &owner, &wanted)
            .await
    );
    assert_eq!(alone.find(owner.id()).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_not_there_is_searched_less_and_less_often() {
    let mut searched = Searched::default();
    assert!(searched.is_due());
    for wait in [30, 60, 300, 900, 900] {
        searched.begin();
        searched.times += 1;
        tokio::time::advance(Duration::from_secs(wait - 1)).await;
        assert!(!searched.is_due(), "{wait}");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(searched.is_due(), "{wait}");
    }
    // Where nobody answered it is tried again soon, and after an hour it is as at first.
    tokio::time::advance(SEARCH_ANEW).await;
    searched.begin();
    assert_eq!(searched.times, 0);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert!(searched.is_due());
}

#[test]
fn only_so_many_searches_are_remembered() {
    let dht = Dht::new(HERE);
    let held = dht.searched(PeerId::from_bytes([255; 32]));
    for n in 0..2 * SEARCHED_MAX {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        dht.searched(PeerId::from_bytes(bytes));
    }
    assert!(dht.all_searches().len() <= SEARCHED_MAX);
    // One that is under way is not begun twice.
    let same = dht.searched(PeerId::from_bytes([255; 32]));
    assert!(Arc::ptr_eq(&held, &same));
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_to_say_says_nothing() {
    let identity = Identity::generate().unwrap();
    let options = EndpointOptions {
        bind: Some(HERE),
        port: 0,
        ..EndpointOptions::default()
    };
    let (_connector, _arrivals, net) = bind(&identity, options).await.unwrap();
    let mut stands = net.dht();
    assert_eq!(*stands.borrow(), DhtStanding::Off);
    net.use_dht(DhtUse {
        publish: true,
        nodes: vec!["127.0.0.1:9".into()],
        ..DhtUse::default()
    });
    let nothing = |now: &DhtStanding| *now == DhtStanding::Nothing;
    assert!(stands.wait_for(nothing).await.is_ok());
    net.use_dht(DhtUse::default());
    let off = |now: &DhtStanding| *now == DhtStanding::Off;
    assert!(stands.wait_for(off).await.is_ok());
}
