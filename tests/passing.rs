//! One upload serves everybody: receivers of a session pass on what they get. Whole nodes on
//! loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm
)]

#[path = "passing/by_hand.rs"]
mod by_hand;
mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use peerconnect::config::{PassOn, Setting};
use peerconnect::net::pull_link::PullAnswer;
use peerconnect::node::api::{Command, Decision, Overview, Reply, SessionSnapshot, Target};
use peerconnect::protocol::message::{Scope, Stamp, TransferId};
use peerconnect::protocol::sessions::{FeedingKey, Ticket};
use peerconnect::storage::store::Accept;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{Shortcoming, TransferSnapshot};

use by_hand::{Given, Peer, REFUSED, ask};
use common::{DEADLINE, Shape, Site, content, tree};

/// What the sender may send per second: so little that receivers are never what holds it up.
const UPLINK: u64 = 20_000_000;

struct Sent {
    session: TransferId,
    transfers: Vec<TransferId>,
}

fn sender() -> Site {
    Shape {
        rate_limit: Some(UPLINK),
        ..Shape::new("from")
    }
    .start()
}

async fn send(from: &Site, to: &[&Site], path: &Path) -> Sent {
    send_all(from, to, vec![path.to_path_buf()]).await
}

async fn send_all(from: &Site, to: &[&Site], paths: Vec<PathBuf>) -> Sent {
    let command = Command::SendToMany {
        to: to.iter().map(|to| Target::Text(to.link())).collect(),
        paths,
    };
    match from.call(command).await {
        Reply::Session { id, transfers } => Sent {
            session: id,
            transfers,
        },
        other => panic!("{other:?}"),
    }
}

async fn over(from: &Site, session: TransferId) -> SessionSnapshot {
    let over = |o: &Overview| o.session(session).filter(|s| s.is_over()).cloned();
    from.until(over).await
}

fn state(from: &Site, id: TransferId) -> TransferSnapshot {
    let overview = from.handle.overview();
    let found = overview.borrow().transfer(id).cloned();
    found.unwrap()
}

async fn accept(to: &Site, transfer: TransferId) {
    answer(to, transfer, true).await;
}

/// Says yes; whether others may have it from there depends.
async fn answer(to: &Site, transfer: TransferId, pass_on: bool) {
    take(to, transfer, None, pass_on).await;
}

/// Says yes to some of it, or to all.
async fn take(to: &Site, transfer: TransferId, only: Option<Vec<u32>>, pass_on: bool) {
    to.until(|o| o.transfer(transfer)?.question.as_ref().map(|_| ()))
        .await;
    let decision = Decision::Accept {
        folder: None,
        only,
        pass_on,
    };
    to.call(Command::Answer { transfer, decision }).await;
}

/// A folder with files of all sizes: its path and how many bytes they have.
fn folder(from: &Site) -> (PathBuf, u64) {
    let mut bytes = 0;
    let mut file = |name: String, len: usize| {
        from.file(&name, &content(len as u64, len));
        bytes += len as u64;
    };
    file("d/big".into(), 24_000_001);
    (0..20).for_each(|n| file(format!("d/medium-{n}"), 300_000 + n));
    (0..20).for_each(|n| file(format!("d/small-{n}"), 100 + n));
    // Many of these: none of them may cost as many uploads as there are receivers.
    (0..300).for_each(|n| file(format!("d/leaf-{n}"), 15_000 + n));
    (from.dir.path().join("out/d"), bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_upload_serves_everybody() {
    let from = sender();
    let names = ["anna", "ben", "carl", "dora", "emil"];
    let to = names.map(|name| Shape::new(name).start());
    let (path, bytes) = folder(&from);
    let sent = send(&from, &to.each_ref(), &path).await;
    let session = over(&from, sent.session).await;
    assert_eq!(session.state, TransferState::Completed, "{session:#?}");
    for site in &to {
        assert!(tree(&site.inbox()) == tree(&from.dir.path().join("out")));
    }
    let moved = session.bytes_moved;
    assert!(moved >= bytes, "everything comes from here at least once");
    // Files that each of them gets from here would be more, also if it is only the small ones.
    assert!(moved < bytes * 3 / 2, "{moved} of {bytes} bytes for five");
    // What came from others counts as received there as well.
    assert_eq!(session.bytes_done, 5 * bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_comes_late_gets_it_from_the_others() {
    let from = sender();
    let (early, late) = (Shape::new("early").start(), Shape::asking("late").start());
    let (path, bytes) = folder(&from);
    let sent = send(&from, &[&early, &late], &path).await;
    from.completed(sent.transfers[0]).await;
    accept(&late, sent.transfers[1]).await;
    from.completed(sent.transfers[1]).await;
    assert!(tree(&late.inbox()) == tree(&from.dir.path().join("out")));
    let late = state(&from, sent.transfers[1]);
    assert!(late.bytes_moved < bytes / 20, "{} bytes", late.bytes_moved);
    assert_eq!(late.passing.through.as_deref(), Some("early"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_passes_on_what_it_must_not_is_named_and_harms_nobody() {
    let from = sender();
    let (liar, late) = (Shape::new("liar").start(), Shape::asking("late").start());
    let (path, _) = folder(&from);
    let sent = send(&from, &[&liar, &late], &path).await;
    from.completed(sent.transfers[0]).await;
    spoil(&liar.inbox().join("d/big"));
    accept(&late, sent.transfers[1]).await;
    from.completed(sent.transfers[1]).await;
    assert!(tree(&late.inbox()) == tree(&from.dir.path().join("out")));
    assert_eq!(state(&from, sent.transfers[1]).passing.through, None);
    assert_eq!(state(&from, sent.transfers[0]).passing.blamed_by, ["late"]);
    // The one it was done to knows it for certain.
    assert_eq!(state(&late, sent.transfers[1]).passing.liars, ["liar"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_moved_a_file_away_is_named_but_not_accused_and_all_get_it_elsewhere() {
    let from = Shape::new("from").start();
    let tidy = Shape::new("tidy").start();
    let late = ["late", "later"].map(|name| Shape::asking(name).start());
    let bytes = content(1, 40_000_000);
    let path = from.file("big", &bytes);
    let sent = send(&from, &[&tidy, &late[0], &late[1]], &path).await;
    from.completed(sent.transfers[0]).await;
    // The sender cannot know: by the receipt it is there.
    fs::remove_file(tidy.inbox().join("big")).unwrap();
    from.call(Command::Set(Setting::RateLimit(Some(2_000_000))))
        .await;
    for (site, id) in late.iter().zip(&sent.transfers[1..]) {
        accept(site, *id).await;
    }
    let named = |o: &Overview| {
        let named = o.transfer(sent.transfers[0])?.passing.shortcoming;
        // One has said so, until the other one does.
        named.filter(|short| *short != Shortcoming::Doubted)
    };
    assert_eq!(from.until(named).await, Shortcoming::Denies);
    from.call(Command::Set(Setting::RateLimit(None))).await;
    for (site, id) in late.iter().zip(&sent.transfers[1..]) {
        let told = from.completed(*id).await;
        assert_eq!(told.passing.shortcoming, None);
        assert!(tree(&site.inbox()) == [("big".to_owned(), bytes.clone())].into());
    }
    let told = state(&from, sent.transfers[0]).passing;
    assert!(told.blamed_by.is_empty(), "it has not lied: {told:?}");
}

/// Changes a file so that nobody notices who does not look at its content.
fn spoil(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes.iter_mut().step_by(1000).for_each(|byte| *byte ^= 1);
    fs::write(path, bytes).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(modified).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_leaves_midway_is_replaced() {
    let from = sender();
    let mut to = ["anna", "ben", "carl", "dora"].map(|name| Shape::new(name).start());
    let path = from.file("big", &content(1, 60_000_000));
    let sent = send(&from, &to.each_ref(), &path).await;
    let half = |t: &&TransferSnapshot| t.bytes_done > 30_000_000;
    let feeder = |o: &Overview| {
        o.transfers.iter().find(half)?;
        let through = o.transfers.iter().find_map(|t| t.passing.through.clone())?;
        let feeds = |t: &&TransferSnapshot| t.peer_name == through;
        o.transfers.iter().find(feeds).map(|t| t.id)
    };
    let leaves = from.until(feeder).await;
    let at = sent.transfers.iter().position(|id| *id == leaves).unwrap();
    to[at].stop().await;
    for (site, id) in to.iter().zip(&sent.transfers) {
        if *id != leaves {
            from.completed(*id).await;
            assert!(tree(&site.inbox())["big"] == content(1, 60_000_000));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_come_all_the_same_when_they_are_paused_and_when_their_feeder_leaves() {
    let from = sender();
    let mut early = limited("early", 400_000);
    let late = Shape::asking("late").start();
    for n in 0..500 {
        from.file(&format!("d/{n}"), &content(n, 4000 + 17 * n as usize));
    }
    let out = from.dir.path().join("out");
    let sent = send(&from, &[&early, &late], &out.join("d")).await;
    from.completed(sent.transfers[0]).await;
    let transfer = sent.transfers[1];
    accept(&late, transfer).await;
    for (least, scope) in [(20, Scope::Transfer), (60, Scope::File(499))] {
        let has = |o: &Overview| {
            o.transfer(transfer)
                .filter(|t| t.files_done >= least)
                .map(|_| ())
        };
        late.until(has).await;
        late.call(Command::Pause { transfer, scope }).await;
        late.call(Command::Resume { transfer, scope }).await;
    }
    let first = Command::First {
        transfer,
        index: 498,
    };
    from.call(first).await;
    let has = |o: &Overview| {
        o.transfer(transfer)
            .filter(|t| t.files_done >= 120)
            .map(|_| ())
    };
    late.until(has).await;
    assert!(state(&late, transfer).files_done < 500, "over too soon");
    early.stop().await;
    from.completed(transfer).await;
    assert!(tree(&late.inbox()) == tree(&out));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_blocked_gets_nothing_more_from_there_and_all_from_elsewhere() {
    let from = sender();
    let early = limited("early", 500_000);
    let late = Shape::asking("late").start();
    let bytes = content(1, 20_000_000);
    let path = from.file("big", &bytes);
    let sent = send(&from, &[&early, &late], &path).await;
    from.completed(sent.transfers[0]).await;
    accept(&late, sent.transfers[1]).await;
    early.until(|o| (o.passing_on == 1).then_some(())).await;
    let peer = late.handle.overview().borrow().me.id;
    let accept = Accept::Block;
    early.call(Command::Trust { peer, accept }).await;
    early.until(|o| (o.passing_on == 0).then_some(())).await;
    from.completed(sent.transfers[1]).await;
    assert!(tree(&late.inbox()) == [("big".to_owned(), bytes)].into());
    // At the pace of the other one it would have taken most of a minute.
    let moved = state(&from, sent.transfers[1]).bytes_moved;
    assert!(moved > 10_000_000, "{moved} bytes from the sender");
    assert_eq!(early.handle.overview().borrow().passing_on, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_pass_on_still_gets_everything() {
    let from = sender();
    let quiet = |name| {
        Shape {
            pass_on: PassOn::Never,
            ..Shape::new(name)
        }
        .start()
    };
    let to = [quiet("anna"), quiet("ben")];
    let (path, bytes) = folder(&from);
    let sent = send(&from, &to.each_ref(), &path).await;
    let session = over(&from, sent.session).await;
    assert_eq!(session.state, TransferState::Completed);
    assert_eq!(session.bytes_moved, 2 * bytes);
    for site in &to {
        assert!(tree(&site.inbox()) == tree(&from.dir.path().join("out")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_so_with_the_answer_passes_nothing_on_also_after_a_restart() {
    let from = sender();
    let mut to = ["anna", "ben"].map(|name| Shape::asking(name).start());
    let (path, bytes) = folder(&from);
    let sent = send(&from, &to.each_ref(), &path).await;
    for (site, id) in to.iter_mut().zip(&sent.transfers) {
        answer(site, *id, false).await;
        site.in_state(*id, TransferState::Transferring).await;
        assert!(!state(site, *id).passing.passes_on);
        site.stop().await;
        site.restart();
    }
    let session = over(&from, sent.session).await;
    assert_eq!(session.state, TransferState::Completed);
    assert!(session.bytes_moved >= 2 * bytes);
    for site in &to {
        assert_eq!(kept(site, "shelf"), 0);
        assert!(tree(&site.inbox()) == tree(&from.dir.path().join("out")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_anything_with_a_ticket_that_was_guessed() {
    let from = sender();
    let to = [Shape::new("anna").start(), Shape::new("ben").start()];
    let path = from.file("big", &content(1, 3_000_000));
    let sent = send(&from, &to.each_ref(), &path).await;
    over(&from, sent.session).await;
    let mallory = Peer::new("mallory").await;
    let connection = mallory.connect(&to[0]).await;
    let stamp = Stamp([1; 16]);
    // Made with another key, which is what a guess is; and for somebody else.
    for child in [mallory.identity.id(), connection.id()] {
        let ticket = Ticket::new(&FeedingKey([7; 32]), child);
        let shown = (sent.transfers[0], ticket);
        assert_eq!(ask(&connection, shown, stamp).await, REFUSED);
    }
    // A transfer that nobody has looks the same.
    let shown = (TransferId([9; 16]), mallory.ticket(FeedingKey([7; 32])));
    assert_eq!(ask(&connection, shown, stamp).await, REFUSED);
    assert!(!connection.is_closed());
}

/// Two transfers to one that passes on, with keys that are known here.
fn given() -> [Given; 2] {
    [("x", 1), ("y", 2)].map(|(name, n)| Given {
        transfer: TransferId([n; 16]),
        key: FeedingKey([n + 10; 32]),
        stamp: Stamp([n + 20; 16]),
        name,
        content: content(n.into(), 5000).into(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_anything_with_the_ticket_of_another_or_of_another_transfer() {
    let feeder = Shape::new("feeder").start();
    let (origin, given) = (Peer::new("origin").await, given());
    let connection = origin.connect(&feeder).await;
    for file in &given {
        file.send(&connection).await;
    }
    let (child, mallory) = (Peer::new("child").await, Peer::new("mallory").await);
    let by_child = child.connect(&feeder).await;
    let by_mallory = mallory.connect(&feeder).await;
    let [x, y] = &given;
    for (file, other) in [(x, y), (y, x)] {
        let (right, bytes) = (child.ticket(file.key), file.content.clone());
        let shown = (file.transfer, right);
        assert_eq!(ask(&by_mallory, shown, file.stamp).await, REFUSED);
        let shown_elsewhere = (other.transfer, right);
        for stamp in [file.stamp, other.stamp] {
            assert_eq!(ask(&by_child, shown_elsewhere, stamp).await, REFUSED);
        }
        let content = Ok(PullAnswer::Content { id: 0, bytes });
        assert_eq!(ask(&by_child, shown, file.stamp).await, content);
    }
    assert!(!by_child.is_closed() && !by_mallory.is_closed());
}

/// Who gives only so much a second, however fast it gets it.
fn limited(name: &'static str, rate: u64) -> Site {
    Shape {
        rate_limit: Some(rate),
        ..Shape::new(name)
    }
    .start()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_may_leave_when_the_others_have_everything() {
    // Slow enough that its own part in it cannot be what finishes it.
    let mut from = limited("from", 10_000_000);
    let early = limited("early", 8_000_000);
    let late = ["late", "later"].map(|name| Shape::asking(name).start());
    let (path, bytes) = folder(&from);
    let sent = send(&from, &[&early, &late[0], &late[1]], &path).await;
    from.completed(sent.transfers[0]).await;
    for (site, id) in late.iter().zip(&sent.transfers[1..]) {
        accept(site, *id).await;
    }
    let session = from
        .until(|o| o.session(sent.session).filter(|s| s.may_leave()).cloned())
        .await;
    assert_eq!((session.complete, session.going_on), (1, 2));
    from.stop().await;
    for (site, id) in late.iter().zip(&sent.transfers[1..]) {
        let left = bytes - state(site, *id).bytes_done;
        assert!(left > bytes / 4, "much has to come from others");
    }
    for (site, id) in late.iter().zip(&sent.transfers[1..]) {
        site.completed(*id).await;
        assert!(tree(&site.inbox()) == tree(&from.dir.path().join("out")));
    }
    // When it is there again it learns what came of it, and sends nothing.
    from.restart();
    for id in &sent.transfers[1..] {
        let told = from.completed(*id).await;
        assert_eq!((told.bytes_moved, told.bytes_done), (0, bytes));
    }
}

/// What happens after the sender has left.
enum After {
    /// Who feeds the one that lacks something leaves as well.
    FeederLeaves,
    /// It passes on what it must not.
    FeederLies,
    /// The sender is back before the end.
    SenderIsBack,
    /// Who lacks something is started anew, and does not remember the sender's last words but from
    /// the disk.
    LateRestarts,
    /// So are those who have everything, who do not remember what they have.
    AllRestart,
}

/// Two have everything and one does not, when the sender leaves. Whatever happens then, that one
/// gets everything, and nothing else.
async fn left_alone(after: After) {
    let mut from = sender();
    let mut to = ["anna", "ben"].map(|name| limited(name, 4_000_000));
    let mut late = Shape::asking("late").start();
    let bytes = content(1, 16_000_000);
    let path = from.file("big", &bytes);
    let sent = send(&from, &[&to[0], &to[1], &late], &path).await;
    from.completed(sent.transfers[0]).await;
    from.completed(sent.transfers[1]).await;
    accept(&late, sent.transfers[2]).await;
    let fed = |o: &Overview| {
        let may = o.session(sent.session).is_some_and(|s| s.may_leave());
        let through = &o.transfer(sent.transfers[2])?.passing.through;
        through.clone().filter(|_| may)
    };
    let feeder = from.until(fed).await;
    from.stop().await;
    let at = usize::from(feeder == "ben");
    match after {
        After::FeederLeaves => to[at].stop().await,
        After::FeederLies => spoil(&to[at].inbox().join("big")),
        After::SenderIsBack => {
            late.in_state(sent.transfers[2], TransferState::Interrupted)
                .await;
            late.in_state(sent.transfers[2], TransferState::Transferring)
                .await;
            from.restart();
        }
        After::LateRestarts | After::AllRestart => {
            late.stop().await;
            if let After::AllRestart = after {
                for site in &mut to {
                    site.stop().await;
                    site.restart();
                }
            }
            late.restart();
            assert!(!late.inbox().join("big").exists(), "some of it is to come");
        }
    }
    late.completed(sent.transfers[2]).await;
    assert!(tree(&late.inbox()) == [("big".to_owned(), bytes)].into());
    let liars = state(&late, sent.transfers[2]).passing.liars;
    match after {
        // Nobody else is there who could be told.
        After::FeederLies => assert_eq!(liars, [feeder]),
        After::FeederLeaves | After::SenderIsBack => assert!(liars.is_empty()),
        After::LateRestarts | After::AllRestart => assert!(liars.is_empty()),
    }
    if let After::SenderIsBack = after {
        from.completed(sent.transfers[2]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_sender_has_left_and_a_feeder_leaves_too_the_next_one_gives_the_rest() {
    left_alone(After::FeederLeaves).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_sender_has_left_lies_are_still_found() {
    left_alone(After::FeederLies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_has_left_may_come_back_before_the_end() {
    left_alone(After::SenderIsBack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_sender_has_left_who_is_started_anew_still_gets_the_rest() {
    left_alone(After::LateRestarts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_sender_has_left_those_who_are_started_anew_still_give_the_rest() {
    left_alone(After::AllRestart).await;
}

/// One has the first of two files and one the second, from elsewhere, and one wants only the first,
/// when the sender leaves.
async fn left_with_halves(restarted: bool) {
    let mut from = limited("from", 100_000);
    let mut to = ["anna", "ben"].map(|name| limited(name, 2_000_000));
    let carl = Shape::asking("carl").start();
    let files = [("x", 1), ("y", 2)].map(|(name, seed)| (name, content(seed, 16_000_000)));
    let paths = files.each_ref().map(|(name, bytes)| from.file(name, bytes));
    for (site, (name, bytes)) in to.iter().zip(&files) {
        fs::create_dir_all(site.inbox()).unwrap();
        fs::write(site.inbox().join(name), bytes).unwrap();
    }
    let sent = send_all(&from, &[&to[0], &to[1], &carl], paths.to_vec()).await;
    take(&carl, sent.transfers[2], Some(vec![0]), true).await;
    let may = |o: &Overview| o.session(sent.session).filter(|s| s.may_leave()).cloned();
    let session = from.until(may).await;
    assert_eq!((session.complete, session.going_on), (0, 3));
    from.stop().await;
    if restarted {
        for site in &mut to {
            site.stop().await;
        }
        to.iter_mut().for_each(Site::restart);
    }
    let all = files.map(|(name, bytes)| (name.to_owned(), bytes));
    for (site, id) in to.iter().zip(&sent.transfers) {
        site.completed(*id).await;
        assert!(tree(&site.inbox()) == all.clone().into());
    }
    carl.completed(sent.transfers[2]).await;
    assert!(tree(&carl.inbox()) == [all[0].clone()].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_may_leave_when_the_others_have_everything_between_them() {
    left_with_halves(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_have_everything_between_them_may_be_started_anew_without_the_sender() {
    left_with_halves(true).await;
}

/// The files of a site's that lie beside its journals.
fn kept(site: &Site, kind: &str) -> usize {
    let files = std::fs::read_dir(site.paths().journals()).unwrap();
    let is_one = |file: &std::fs::DirEntry| file.path().extension().is_some_and(|e| e == kind);
    files.flatten().filter(is_one).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_for_the_next_start_that_counts_no_more() {
    let from = sender();
    let early = limited("early", 4_000_000);
    let late = Shape::asking("late").start();
    let path = from.file("big", &content(1, 12_000_000));
    let sent = send(&from, &[&early, &late], &path).await;
    from.completed(sent.transfers[0]).await;
    accept(&late, sent.transfers[1]).await;
    let id = sent.transfers[1];
    let may = |o: &Overview| o.session(sent.session).filter(|s| s.may_leave()).cloned();
    from.until(may).await;
    assert_eq!((kept(&late, "will"), kept(&early, "shelf")), (1, 1));
    // What the sender's person holds back must not go on, whatever happens to the programs.
    let transfer = id;
    let scope = Scope::Transfer;
    from.call(Command::Pause { transfer, scope }).await;
    late.in_state(id, TransferState::Paused).await;
    let gone = async {
        while kept(&late, "will") > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.expect("removed");
    from.call(Command::Resume { transfer, scope }).await;
    late.completed(id).await;
    assert_eq!((kept(&late, "will"), kept(&late, "journal")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_adds_something_may_not_leave_any_more() {
    let from = sender();
    let early = limited("early", 4_000_000);
    let late = Shape::asking("late").start();
    let path = from.file("big", &content(1, 12_000_000));
    let sent = send(&from, &[&early, &late], &path).await;
    from.completed(sent.transfers[0]).await;
    accept(&late, sent.transfers[1]).await;
    let open = |o: &Overview| o.session(sent.session).filter(|s| s.complete == 1).cloned();
    from.until(|o| open(o).filter(SessionSnapshot::may_leave))
        .await;
    let attach = Command::Attach {
        transfer: sent.session,
        paths: vec![from.file("more", &content(2, 3_000_000))],
    };
    from.call(attach).await;
    from.until(|o| open(o).filter(|s| !s.may_leave())).await;
    from.completed(sent.transfers[1]).await;
    assert!(tree(&late.inbox()) == tree(&from.dir.path().join("out")));
}
