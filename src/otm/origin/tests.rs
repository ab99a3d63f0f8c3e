use tokio::sync::watch;

use super::*;
use crate::peer::PeerId;
use crate::protocol::groups::GROUP_LEN;
use crate::protocol::message::{Entry, EntryKind, Outcome, Receipt, Timestamp};
use crate::protocol::sessions::{FeedingKey, Trouble};
use crate::transfer::holding::{Manifest, SharedHolding};
use crate::transfer::member::{Heirs, Whereabouts};
use crate::transfer::shelf::FILES_MAX;
use crate::transfer::table::SharedTable;

const NAMES: [&str; 3] = ["anna", "ben", "carl"];

const COMPLETE: MemberNews = MemberNews::Complete { entries: 1 };

fn id(n: u8) -> TransferId {
    TransferId([n; 16])
}

fn peer(n: u8) -> PeerId {
    PeerId::from_bytes([n; 32])
}

/// What is told about the transfers.
type Told = mpsc::Receiver<(TransferId, News)>;

struct Room {
    news: SessionNews,
    told: Told,
    reporters: mpsc::Sender<(TransferId, News)>,
    /// What goes to the first one, who has it, and to everybody else.
    tables: [SharedTable; 2],
}

impl Room {
    fn open() -> Self {
        let (news, heard) = mpsc::channel(16);
        let (reporters, told) = mpsc::channel(64);
        let limits = Limits {
            origin_fanout: 1,
            fanout: 4,
        };
        tokio::spawn(coordinate(heard, limits));
        Self {
            news,
            told,
            reporters,
            tables: [true, false].map(one_file),
        }
    }

    async fn say(&self, n: u8, news: MemberNews) {
        self.news.send((id(n), news)).await.unwrap();
    }

    async fn join(&self, n: u8, passes_on: bool) -> watch::Receiver<Option<Feeder>> {
        self.join_to_inherit(n, passes_on).await.0
    }

    /// The same, and where it is said who has everything.
    async fn join_to_inherit(
        &self,
        n: u8,
        passes_on: bool,
    ) -> (
        watch::Receiver<Option<Feeder>>,
        watch::Receiver<Option<Heirs>>,
    ) {
        self.join_with(n, passes_on, &SharedHolding::default(), false)
            .await
    }

    /// The same, with what it has.
    async fn join_with(
        &self,
        n: u8,
        passes_on: bool,
        holding: &SharedHolding,
        tells_parts: bool,
    ) -> (
        watch::Receiver<Option<Feeder>>,
        watch::Receiver<Option<Heirs>>,
    ) {
        let (feeder, told) = watch::channel(None);
        let (heirs, bequeathed) = watch::channel(None);
        let joined = Joined {
            at: Whereabouts {
                peer: peer(n),
                name: NAMES[n as usize].into(),
                addrs: vec![([192, 168, 0, n + 1], 3485).into()],
            },
            key: FeedingKey([n; 32]),
            passes_on,
            tells_parts,
            holding: holding.clone(),
            done: 0,
            table: self.tables[usize::from(n > 0)].downgrade(),
            rtt: None,
            feeder,
            heirs,
        };
        let joined = Box::new(joined);
        let reporter = Reporter::new(id(n), self.reporters.clone());
        self.say(n, MemberNews::Joined { joined, reporter }).await;
        (told, bequeathed)
    }
}

/// What goes to everybody, at a receiver that has it or not.
fn one_file(has: bool) -> SharedTable {
    let table = SharedTable::default();
    let kind = EntryKind::File {
        size: 2 * GROUP_LEN,
        modified: Timestamp(1),
        executable: false,
    };
    let path = "a".into();
    table.lock().push(&Entry { path, kind }).unwrap();
    if has {
        table.lock().settle(&Receipt {
            index: 0,
            outcome: Outcome::New,
            saved_as: None,
            hash: None,
        });
    }
    table
}

fn is_fed(feeder: &Feeder) -> bool {
    matches!(feeder, Feeder::Member { .. })
}

/// What is said, as soon as it is as wanted.
async fn until(
    told: &mut watch::Receiver<Option<Feeder>>,
    wanted: impl Fn(&Feeder) -> bool,
) -> Feeder {
    let said = told.wait_for(|feeder| feeder.as_ref().is_some_and(&wanted));
    let said = tokio::time::timeout(Duration::from_secs(3600), said).await;
    said.expect("waited in vain").unwrap().clone().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_next_one_is_sent_to_the_first_with_all_that_it_needs() {
    let room = Room::open();
    let mut first = room.join(0, true).await;
    until(&mut first, |feeder| *feeder == Feeder::Origin).await;
    let mut second = room.join(1, true).await;
    room.say(0, COMPLETE).await;
    let feeder = until(&mut second, is_fed).await;
    let Feeder::Member {
        member,
        peer: key,
        addrs,
        ticket,
    } = feeder
    else {
        panic!("{feeder:?}");
    };
    assert_eq!((member, key), (id(0), peer(0)));
    assert_eq!(addrs, [([192, 168, 0, 1], 3485).into()]);
    assert!(ticket.is_for(&FeedingKey([0; 32]), peer(1)));
}

#[tokio::test(start_paused = true)]
async fn one_who_lies_is_named_with_the_one_who_says_so() {
    let mut room = Room::open();
    let _first = room.join(0, true).await;
    room.say(0, COMPLETE).await;
    let mut second = room.join(1, true).await;
    until(&mut second, is_fed).await;
    let lied = |feeder| MemberNews::Trouble {
        feeder: id(feeder),
        trouble: Trouble::Lied,
    };
    // About somebody who does not feed it: nobody is named.
    room.say(1, lied(2)).await;
    room.say(1, lied(0)).await;
    let blamed = async {
        loop {
            if let Some((about, News::Blamed(by))) = room.told.recv().await {
                return (about, by);
            }
        }
    };
    assert_eq!(blamed.await, (id(0), "ben".to_owned()));
    until(&mut second, |feeder| *feeder == Feeder::Origin).await;
}

/// Who is named to a member, in order.
fn named(heirs: &Option<Heirs>) -> Vec<TransferId> {
    let feeders = heirs.iter().flat_map(|heirs| &heirs.feeders);
    let member = |feeder: &Feeder| match feeder {
        Feeder::Member { member, .. } => *member,
        Feeder::Origin => panic!("that is who is gone"),
    };
    feeders.map(member).collect()
}

#[tokio::test(start_paused = true)]
async fn who_has_everything_and_passes_on_is_named_to_all_who_do_not() {
    let room = Room::open();
    let _silent = room.join(0, false).await;
    let (_, mut anna) = room.join_to_inherit(1, true).await;
    let (_, mut ben) = room.join_to_inherit(2, true).await;
    room.say(0, COMPLETE).await;
    room.say(1, MemberNews::Complete { entries: 7 }).await;
    let told = ben.wait_for(Option::is_some).await.unwrap().clone();
    assert_eq!(named(&told), [id(1)], "not the one who keeps it to himself");
    let heirs = told.unwrap();
    assert_eq!(heirs.entries, 7);
    let Feeder::Member { ticket, .. } = heirs.feeders[0] else {
        panic!("{heirs:?}");
    };
    assert!(ticket.is_for(&FeedingKey([1; 32]), peer(2)));
    // Who comes late is told as well, and of the others who may have some of it.
    let (_, mut late) = room.join_to_inherit(0, true).await;
    let told = late.wait_for(Option::is_some).await.unwrap().clone();
    assert_eq!(named(&told), [id(1), id(2)]);
    assert_eq!(*anna.borrow_and_update(), None, "it has everything");
}

/// These are named, and nobody else.
fn is(wanted: &'static [u8]) -> impl Fn(&Option<Heirs>) -> bool {
    let ids: Vec<TransferId> = wanted.iter().map(|n| id(*n)).collect();
    move |heirs: &Option<Heirs>| heirs.is_some() && named(heirs) == ids
}

/// Waits until these are named, and nobody else.
async fn hears(told: &mut watch::Receiver<Option<Heirs>>, wanted: &'static [u8]) {
    let hour = Duration::from_secs(3600);
    let heard = tokio::time::timeout(hour, told.wait_for(is(wanted))).await;
    heard.expect("waited in vain").unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_back_hears_that_those_are_gone_whom_it_was_told() {
    let room = Room::open();
    let _anna = room.join(0, true).await;
    room.say(0, COMPLETE).await;
    let (_, mut ben) = room.join_to_inherit(1, false).await;
    hears(&mut ben, &[0]).await;
    room.say(1, MemberNews::Left).await;
    room.say(0, MemberNews::Away).await;
    let (_, mut ben) = room.join_to_inherit(1, false).await;
    hears(&mut ben, &[]).await;
}

fn gone(feeder: u8) -> MemberNews {
    MemberNews::Trouble {
        feeder: id(feeder),
        trouble: Trouble::Gone,
    }
}

fn denied(feeder: u8, index: u32) -> MemberNews {
    let trouble = Trouble::Withheld {
        index,
        group: 0,
        denied: true,
    };
    let feeder = id(feeder);
    MemberNews::Trouble { feeder, trouble }
}

impl Room {
    /// What people are told next of those who pass nothing on.
    async fn short(&mut self) -> (TransferId, Option<Shortcoming>) {
        let next = async {
            loop {
                if let Some((about, News::Shortcoming(short))) = self.told.recv().await {
                    return (about, short);
                }
            }
        };
        let hour = Duration::from_secs(3600);
        let told = tokio::time::timeout(hour, next).await;
        told.expect("waited in vain")
    }
}

#[tokio::test(start_paused = true)]
async fn one_who_gives_two_nothing_of_what_it_has_is_named_and_for_a_while_no_heir() {
    let mut room = Room::open();
    let _anna = room.join(0, true).await;
    room.say(0, COMPLETE).await;
    let (mut to_ben, mut ben) = room.join_to_inherit(1, false).await;
    let (mut to_carl, _carl) = room.join_to_inherit(2, false).await;
    until(&mut to_ben, is_fed).await;
    until(&mut to_carl, is_fed).await;
    hears(&mut ben, &[0]).await;
    room.say(1, denied(0, 0)).await;
    until(&mut to_ben, |feeder| *feeder == Feeder::Origin).await;
    assert!(
        is_fed(&to_carl.borrow().clone().unwrap()),
        "one is not enough"
    );
    assert_eq!(room.short().await, (id(0), Some(Shortcoming::Doubted)));
    room.say(2, denied(0, 0)).await;
    assert_eq!(room.short().await, (id(0), Some(Shortcoming::Denies)));
    until(&mut to_carl, |feeder| *feeder == Feeder::Origin).await;
    hears(&mut ben, &[]).await;
    assert_eq!(room.short().await, (id(0), None), "it may try again");
    hears(&mut ben, &[0]).await;
}

#[tokio::test(start_paused = true)]
async fn what_it_has_not_nobody_withholds() {
    for (index, same) in [(1, true), (0, false)] {
        let mut room = Room::open();
        if !same {
            // What the others know by that number is another file.
            room.tables[1] = SharedTable::default();
            let mut entry = room.tables[0].lock().entry(0).unwrap();
            entry.path = "b".into();
            room.tables[1].lock().push(&entry).unwrap();
        }
        let _anna = room.join(0, true).await;
        room.say(0, COMPLETE).await;
        let mut fed = Vec::new();
        for child in [1, 2] {
            let mut feeder = room.join(child, false).await;
            until(&mut feeder, is_fed).await;
            fed.push(feeder);
        }
        for child in [1, 2] {
            room.say(child, denied(0, index)).await;
        }
        settle().await;
        while let Ok((_, news)) = room.told.try_recv() {
            assert!(!matches!(news, News::Shortcoming(_)), "{news:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whom_the_others_cannot_reach_is_told_of_without_a_reproach() {
    let mut room = Room::open();
    let _anna = room.join(0, true).await;
    room.say(0, COMPLETE).await;
    for child in [1, 2] {
        let mut feeder = room.join(child, false).await;
        until(&mut feeder, is_fed).await;
        room.say(child, gone(0)).await;
    }
    assert_eq!(room.short().await, (id(0), Some(Shortcoming::OutOfReach)));
    assert_eq!(room.short().await, (id(0), None));
}

/// Who feeds it now.
fn fed_by(feeder: &watch::Receiver<Option<Feeder>>) -> Option<TransferId> {
    match *feeder.borrow() {
        Some(Feeder::Member { member, .. }) => Some(member),
        Some(Feeder::Origin) | None => None,
    }
}

/// Until all of what was said has been heard, and what follows from it was told.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn whom_one_member_cannot_reach_the_others_are_still_told_of() {
    let room = Room::open();
    let _anna = room.join(0, true).await;
    room.say(0, COMPLETE).await;
    // He gives nobody anything, so that there is no other feeder.
    let (_, mut ben) = room.join_to_inherit(1, false).await;
    let (mut feeder, mut carl) = room.join_to_inherit(2, true).await;
    hears(&mut ben, &[0]).await;
    hears(&mut carl, &[0]).await;
    until(&mut feeder, is_fed).await;
    assert_eq!(fed_by(&feeder), Some(id(0)));
    room.say(2, gone(0)).await;
    hears(&mut carl, &[]).await;
    settle().await;
    assert!(is(&[0])(&ben.borrow()), "{ben:?}");
    // A minute later it may reach it.
    hears(&mut carl, &[0]).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_member_says_of_those_who_do_not_feed_it_says_nothing() {
    let room = Room::open();
    let _anna = room.join(0, true).await;
    let _ben = room.join(1, true).await;
    let (feeder, mut carl) = room.join_to_inherit(2, true).await;
    room.say(0, COMPLETE).await;
    hears(&mut carl, &[0, 1]).await;
    settle().await;
    let other = u8::from(fed_by(&feeder) == Some(id(0)));
    room.say(2, gone(other)).await;
    settle().await;
    assert!(is(&[0, 1])(&carl.borrow()), "{carl:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_has_everything_and_is_not_connected_any_more_is_no_heir() {
    let room = Room::open();
    let _anna = room.join(0, true).await;
    let _ben = room.join(1, true).await;
    let (_, mut carl) = room.join_to_inherit(2, true).await;
    room.say(0, COMPLETE).await;
    room.say(1, COMPLETE).await;
    hears(&mut carl, &[0, 1]).await;
    room.say(0, MemberNews::Away).await;
    hears(&mut carl, &[1]).await;
    // The same once more changes nothing.
    room.say(0, MemberNews::Away).await;
    room.say(1, MemberNews::Away).await;
    hears(&mut carl, &[]).await;
    // It may be a program that was started anew, and has nothing to give.
    room.say(0, MemberNews::Back).await;
    settle().await;
    assert!(is(&[])(&carl.borrow()), "{carl:?}");
    // One that has everything once more.
    let _again = room.join(0, true).await;
    room.say(0, COMPLETE).await;
    hears(&mut carl, &[0]).await;
    // It can be heard of the end of a program before it is heard that it had everything.
    let _other = room.join(1, true).await;
    room.say(1, MemberNews::Away).await;
    room.say(1, COMPLETE).await;
    settle().await;
    assert!(is(&[0])(&carl.borrow()), "{carl:?}");
}

#[tokio::test(start_paused = true)]
async fn who_has_more_files_than_a_receiver_remembers_is_no_heir() {
    let room = Room::open();
    let _anna = room.join(0, true).await;
    let (_, ben) = room.join_to_inherit(1, true).await;
    let entries = FILES_MAX as u32 + 1;
    room.say(0, MemberNews::Complete { entries }).await;
    settle().await;
    assert_eq!(*ben.borrow(), None);
}

/// These files of so many.
fn has(files: &[u32], of: u32) -> SharedHolding {
    let holding = SharedHolding::default();
    let digest = [of as u8; 32];
    let manifest = Manifest {
        entries: of,
        digest,
    };
    holding.change(|holding| holding.set_manifest(manifest));
    gets(&holding, files);
    holding
}

fn gets(holding: &SharedHolding, files: &[u32]) {
    holding.change(|holding| files.iter().for_each(|file| holding.settle(*file, true)));
}

#[tokio::test(start_paused = true)]
async fn those_who_have_everything_between_them_are_named_as_long_as_they_have() {
    let room = Room::open();
    let [of_anna, of_ben, of_carl] = [&[0, 1][..], &[2], &[]].map(|files| has(files, 4));
    let (_, anna) = room.join_with(0, true, &of_anna, true).await;
    let (_, mut ben) = room.join_with(1, true, &of_ben, true).await;
    let (_, mut carl) = room.join_with(2, false, &of_carl, true).await;
    let minute = Duration::from_secs(60);
    tokio::time::sleep(minute).await;
    assert_eq!((&*anna.borrow(), &*carl.borrow()), (&None, &None));
    gets(&of_ben, &[3]);
    hears(&mut carl, &[0, 1]).await;
    hears(&mut ben, &[0]).await;
    assert_eq!(carl.borrow().as_ref().map(|heirs| heirs.entries), Some(4));
    // As long as it is true it is not said again.
    gets(&of_ben, &[0]);
    carl.mark_unchanged();
    tokio::time::sleep(minute).await;
    assert!(!carl.has_changed().unwrap());
    room.say(0, MemberNews::Left).await;
    hears(&mut carl, &[]).await;
    // She has less than before.
    let of_anna = has(&[1], 4);
    let (_, mut anna) = room.join_with(0, true, &of_anna, true).await;
    hears(&mut carl, &[1, 0]).await;
    hears(&mut anna, &[1]).await;
    // Who cannot be reached is none of them.
    room.say(1, MemberNews::Away).await;
    hears(&mut carl, &[]).await;
    // Who has all of it is enough.
    room.say(1, MemberNews::Back).await;
    gets(&of_anna, &[0, 2, 3]);
    hears(&mut carl, &[0, 1]).await;
    room.say(1, MemberNews::Left).await;
    settle().await;
    assert!(is(&[0, 1])(&carl.borrow()), "she has everything");
}

#[tokio::test(start_paused = true)]
async fn who_would_let_others_wait_for_the_rest_has_no_part_in_it() {
    let room = Room::open();
    let [of_anna, of_ben, of_carl] = [&[0][..], &[1], &[]].map(|files| has(files, 2));
    let (_, anna) = room.join_with(0, true, &of_anna, false).await;
    let (_, ben) = room.join_with(1, true, &of_ben, true).await;
    let (_, mut carl) = room.join_with(2, true, &of_carl, true).await;
    let minute = Duration::from_secs(60);
    tokio::time::sleep(minute).await;
    assert_eq!((&*ben.borrow(), &*carl.borrow()), (&None, &None));
    // One that keeps it to itself.
    let _quiet = room.join_with(0, false, &of_anna, true).await;
    tokio::time::sleep(minute).await;
    assert_eq!((&*ben.borrow(), &*carl.borrow()), (&None, &None));
    let _anna = room.join_with(0, true, &of_anna, true).await;
    hears(&mut carl, &[0, 1]).await;
    assert_eq!(*anna.borrow(), None);
}

#[tokio::test(start_paused = true)]
async fn who_had_everything_before_something_was_added_is_not_enough() {
    let room = Room::open();
    let [of_anna, of_ben, of_carl] = [&[0, 1][..], &[0], &[]].map(|files| has(files, 2));
    let _anna = room.join_with(0, true, &of_anna, true).await;
    room.say(0, MemberNews::Complete { entries: 2 }).await;
    let _ben = room.join_with(1, true, &of_ben, true).await;
    let (_, mut carl) = room.join_with(2, true, &of_carl, true).await;
    hears(&mut carl, &[0, 1]).await;
    let more = Manifest {
        entries: 3,
        digest: [3; 32],
    };
    for holding in [&of_ben, &of_carl] {
        holding.change(|holding| holding.set_manifest(more));
    }
    hears(&mut carl, &[]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!carl.has_changed().unwrap(), "nobody has it");
    gets(&of_ben, &[1, 2]);
    hears(&mut carl, &[1]).await;
    assert_eq!(carl.borrow().as_ref().map(|heirs| heirs.entries), Some(3));
}

#[test]
fn addresses_are_told_only_where_they_mean_something() {
    let addrs = |list: &[[u8; 4]]| -> Vec<SocketAddr> {
        list.iter().map(|ip| SocketAddr::from((*ip, 1))).collect()
    };
    let local = [[10, 0, 0, 1], [127, 0, 0, 1], [203, 0, 113, 1]];
    let feeder = addrs(&local);
    let near_first = addrs(&[[10, 0, 0, 1], [203, 0, 113, 1]]);
    assert_eq!(addrs_for(&addrs(&[[10, 0, 0, 9]]), &feeder), near_first);
    let here = addrs_for(&addrs(&[[127, 0, 0, 1]]), &feeder);
    assert_eq!(here.len(), 3);
    let public = addrs(&[[203, 0, 113, 1]]);
    assert_eq!(addrs_for(&addrs(&[[198, 51, 100, 7]]), &feeder), public);
    // Behind the same router.
    let behind = addrs(&[[203, 0, 113, 1], [10, 0, 0, 1]]);
    assert_eq!(addrs_for(&public, &behind), near_first);
    let many: Vec<SocketAddr> = (0..20)
        .map(|n| SocketAddr::from(([10, 0, 0, n], 1)))
        .collect();
    assert_eq!(addrs_for(&many, &many).len(), FEEDER_ADDRS_MAX);
}
