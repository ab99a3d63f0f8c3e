//! Disks that get full. Needs a disk of its own, which only root can mount.

use std::path::{Path, PathBuf};
use std::process::Command;

use peerconnect::fault::Fault;
use peerconnect::protocol::message::{DeclineReason, Room, Scope};
use peerconnect::transfer::control::{Decision, Order};
use peerconnect::transfer::ended::Ended;
use peerconnect::transfer::status::PausedBy;

use crate::common::content;
use crate::on_every_link;
use crate::pair::{Memory, Pair};
use crate::world::{Side, World};

on_every_link! {
    a_full_disk_pauses_both_sides_until_there_is_room
    an_offer_without_room_can_be_accepted_once_there_is_room
}

/// A small disk. Gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn new(at: &Path, mib: u32) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={mib}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at);
        let mounted = mount.output().is_ok_and(|out| out.status.success());
        if !mounted {
            let must = std::env::var_os("PEERCONNECT_TEST_ALL").is_some();
            assert!(!must, "a disk cannot be mounted here");
            eprintln!("skipped: a disk cannot be mounted here");
        }
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn is_told(side: &Side) -> bool {
    let seen = side.seen.lock().unwrap();
    let full = |fault: &Fault| matches!(fault, Fault::DiskFull { .. });
    seen.faults.iter().any(full)
}

async fn a_full_disk_pauses_both_sides_until_there_is_room<P: Pair>() {
    let mut world = World::<P>::new().await;
    let Some(_disk) = Disk::new(&world.inbox(), 12) else {
        return;
    };
    for (name, size) in [
        ("a", 4_000_000),
        ("b", 4_000_000),
        ("c", 1000),
        ("d", 90_000),
    ] {
        world.file(&format!("x/{name}"), &content(1, size));
    }
    let dir = world.out().join("x");
    world.offer(&[&dir]);
    world.limiter.set(Some(20_000_000));
    let filler = world.inbox().join("filler");
    let ends = world.run_while(|sending, receiving, _| async move {
        sending.until_moved(500_000).await;
        // Somebody else takes the room.
        std::fs::write(&filler, vec![0; 9_000_000]).unwrap();
        for side in [&sending, &receiving] {
            side.until_paused(PausedBy::DiskFull).await;
        }
        assert!(is_told(&receiving));
        std::fs::remove_file(&filler).unwrap();
        for side in [&sending, &receiving] {
            let goes_on = |side: &Side| side.seen.lock().unwrap().paused.is_none();
            side.until("going on", goes_on).await;
        }
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert!(crate::common::tree(&world.out()) == crate::common::tree(&world.inbox()));
}

async fn an_offer_without_room_can_be_accepted_once_there_is_room<P: Pair>() {
    let mut world = World::<P>::with_terms(|terms| terms.accepted = false).await;
    let Some(_disk) = Disk::new(&world.inbox(), 12) else {
        return;
    };
    let filler = world.inbox().join("filler");
    std::fs::write(&filler, vec![0; 9_000_000]).unwrap();
    let path = world.file("x", &content(1, 8_000_000));
    world.offer(&[&path]);
    let accept = || {
        Order::Answer(Decision::Accept {
            folder: None,
            only: None,
            pass_on: true,
        })
    };
    let ends = world.run_while(|sending, receiving, _| async move {
        let obstacle = |side: &Side| side.seen.lock().unwrap().obstacle.is_some();
        receiving.until("an obstacle", obstacle).await;
        let told = |side: &Side| matches!(last_room(side), Some(Room::Missing { .. }));
        sending.until("the missing room", told).await;
        // Whoever accepts all the same is asked again.
        let before = receiving.seen.lock().unwrap().asked;
        receiving.order(accept()).await;
        let again = |side: &Side| side.seen.lock().unwrap().asked > before;
        receiving.until("the question again", again).await;
        std::fs::remove_file(&filler).unwrap();
        // Nobody asks for it: the room is looked at again by itself.
        let gone = |side: &Side| side.seen.lock().unwrap().obstacle.is_none();
        receiving.until("room", gone).await;
        let told = |side: &Side| last_room(side) == Some(Room::Fits);
        sending.until("room", told).await;
        receiving.order(accept()).await;
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert!(world.got("x") == content(1, 8_000_000));
}

fn last_room(side: &Side) -> Option<Room> {
    side.seen.lock().unwrap().rooms.last().copied()
}

#[tokio::test(start_paused = true)]
async fn a_person_who_paused_is_not_overruled_by_a_full_disk() {
    let mut world = World::<Memory>::new().await;
    let Some(_disk) = Disk::new(&world.inbox(), 12) else {
        return;
    };
    let path = world.file("x", &content(1, 8_000_000));
    world.offer(&[&path]);
    world.limiter.set(Some(8_000_000));
    let filler = world.inbox().join("filler");
    let ends = world.run_while(|sending, receiving, _| async move {
        sending.until_moved(2_000_000).await;
        receiving.order(Order::Pause(Scope::Transfer)).await;
        sending.until_paused(PausedBy::Peer).await;
        std::fs::write(&filler, vec![0; 9_000_000]).unwrap();
        sending.order(Order::Resume(Scope::Transfer)).await;
        receiving.until_paused(PausedBy::DiskFull).await;
        receiving.order(Order::Pause(Scope::Transfer)).await;
        receiving.until_paused(PausedBy::Us).await;
        std::fs::remove_file(&filler).unwrap();
        // There is room again, but the person has not said so.
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        receiving.until_paused(PausedBy::Us).await;
        receiving.order(Order::Resume(Scope::Transfer)).await;
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert!(world.got("x") == content(1, 8_000_000));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_breaks_while_the_disk_is_full_goes_on_when_there_is_room() {
    let mut world = World::<Memory>::new().await;
    let Some(_disk) = Disk::new(&world.inbox(), 12) else {
        return;
    };
    let path = world.file("x", &content(1, 8_000_000));
    world.offer(&[&path]);
    world.limiter.set(Some(20_000_000));
    let filler = world.inbox().join("filler");
    let full = filler.clone();
    let ends = world.run_while(|sending, receiving, cut| async move {
        sending.until_moved(2_000_000).await;
        std::fs::write(&full, vec![0; 9_000_000]).unwrap();
        sending.until_paused(PausedBy::DiskFull).await;
        drop(receiving);
        cut();
    });
    let ends = ends.await;
    world.lost(&ends);
    let done = world.receiving.done();
    let moved = world.sending.moved();
    std::fs::remove_file(&filler).unwrap();
    world.complete().await;
    assert_eq!(world.sending.seen.lock().unwrap().paused, None);
    assert_eq!(world.receiving.seen.lock().unwrap().paused, None);
    assert_eq!(world.sending.moved() - moved, 8_000_000 - done);
    assert!(world.got("x") == content(1, 8_000_000));
}

#[tokio::test(start_paused = true)]
async fn what_is_there_already_needs_no_room() {
    let mut world = World::<Memory>::new().await;
    let Some(_disk) = Disk::new(&world.inbox(), 12) else {
        return;
    };
    world.file("x/a", &content(1, 5_000_000));
    world.file("x/b", &content(2, 3_000_000));
    world.send_all().await;
    let filler = world.inbox().join("filler");
    std::fs::write(&filler, vec![0; 3_500_000]).unwrap();
    world.another();
    world.send_all().await;
    assert_eq!(world.sending.moved(), 0);
    // Of the same name and size, but another one: it does not fit.
    world.another();
    let other = world.file("x/a", &content(3, 5_000_000));
    let other = std::fs::File::options().write(true).open(other).unwrap();
    let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    other.set_modified(then).unwrap();
    let dir = world.out().join("x");
    world.offer(&[&dir]);
    let (sent, _) = world.run().await;
    let full = |ended: &Ended| matches!(ended, Ended::Declined(DeclineReason::NoRoom { .. }));
    assert!(full(&sent), "{sent:?}");
}
