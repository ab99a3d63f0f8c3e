//! Pauses that outlive the program of the person who paused.

use peerconnect::config::Setting;
use peerconnect::node::api::{Command, Overview};
use peerconnect::protocol::message::Scope;
use peerconnect::transfer::control::Order;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{FileState, PausedBy};

use crate::common::{Shape, Site, content, tree};
use crate::on_every_link;
use crate::pair::Pair;
use crate::world::World;

on_every_link! {
    what_the_receiver_paused_is_paused_after_its_restart
    a_file_that_the_receiver_paused_is_paused_after_its_restart
    a_file_that_the_sender_paused_is_paused_after_its_restart
}

const SIZE: usize = 6_000_000;

/// Two large files, slow enough to be stopped on the way.
async fn two<P: Pair>() -> World<P> {
    let mut world = World::<P>::new().await;
    let a = world.file("a", &content(1, SIZE));
    let b = world.file("b", &content(2, SIZE));
    world.offer(&[&a, &b]);
    world.limiter.set(Some(16_000_000));
    world
}

fn is_complete<P: Pair>(world: &World<P>) -> bool {
    world.got("a") == content(1, SIZE) && world.got("b") == content(2, SIZE)
}

async fn what_the_receiver_paused_is_paused_after_its_restart<P: Pair>() {
    let mut world = two::<P>().await;
    let ends = world.run_while(|sending, receiving, cut| async move {
        sending.until_moved(1_500_000).await;
        receiving.order(Order::Pause(Scope::Transfer)).await;
        sending.until_paused(PausedBy::Peer).await;
        cut();
    });
    let ends = ends.await;
    world.lost(&ends);
    world.restart_receiver();
    assert_eq!(world.incoming.paused_by(), Some(PausedBy::Us));
    let ends = world.run_while(|sending, receiving, cut| async move {
        sending.until_paused(PausedBy::Peer).await;
        receiving.order(Order::Resume(Scope::Transfer)).await;
        sending.until_moved(SIZE as u64).await;
        cut();
    });
    let ends = ends.await;
    world.lost(&ends);
    // Nor is it paused again by itself.
    world.restart_receiver();
    world.complete().await;
    assert!(is_complete(&world));
}

async fn a_file_that_the_receiver_paused_is_paused_after_its_restart<P: Pair>() {
    let mut world = two::<P>().await;
    let ends = world.run_while(|sending, receiving, cut| async move {
        sending.until_moved(1_500_000).await;
        let b = Scope::File(receiving.index("b"));
        receiving.order(Order::Pause(b)).await;
        let paused = |side: &crate::world::Side| {
            let b = side.index("b");
            side.table.lock().state(b) == Some(FileState::Paused)
        };
        sending.until("the pause", paused).await;
        cut();
    });
    let ends = ends.await;
    world.lost(&ends);
    world.restart_receiver();
    // The sender knows nothing of it any more.
    world.restart_sender();
    let ends = world.run_while(|sending, receiving, _| async move {
        sending.until_settled(&["a"]).await;
        let b = receiving.index("b");
        for side in [&sending, &receiving] {
            assert_eq!(side.table.lock().state(b), Some(FileState::Paused));
        }
        receiving.order(Order::Resume(Scope::File(b))).await;
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert!(is_complete(&world));
}

async fn a_file_that_the_sender_paused_is_paused_after_its_restart<P: Pair>() {
    let mut world = two::<P>().await;
    world.restart_sender();
    let paused = ["b".to_owned()].into();
    world.outgoing.pause_again(false, &paused).await;
    let ends = world.run_while(|sending, receiving, _| async move {
        sending.until_settled(&["a"]).await;
        let b = sending.index("b");
        for side in [&sending, &receiving] {
            assert_eq!(side.table.lock().state(b), Some(FileState::Paused));
        }
        sending.order(Order::Resume(Scope::File(b))).await;
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert!(is_complete(&world));
}

/// Pauses on this side once something has come, and restarts that side's program.
async fn pause_and_restart(site: &mut Site, id: peerconnect::protocol::message::TransferId) {
    let pause = Command::Pause {
        transfer: id,
        scope: Scope::Transfer,
    };
    site.call(pause).await;
    site.in_state(id, TransferState::Paused).await;
    site.stop().await;
    site.restart();
    let paused = |o: &Overview| {
        let t = o.transfer(id)?;
        (t.state == TransferState::Paused && t.paused_by == Some(PausedBy::Us)).then_some(())
    };
    site.until(paused).await;
}

async fn begun(site: &Site, id: peerconnect::protocol::message::TransferId) {
    let some = |o: &Overview| o.transfer(id).filter(|t| t.bytes_done > 0).map(|_| ());
    site.until(some).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_paused_and_quit_finds_it_paused_and_resumes() {
    let (to, mut from) = (Shape::new("to").start(), Shape::new("from").start());
    from.call(Command::Set(Setting::RateLimit(Some(4_000_000))))
        .await;
    let path = from.file("large", &content(1, SIZE));
    let id = from.send(&to.link(), &[&path]).await;
    begun(&from, id).await;
    pause_and_restart(&mut from, id).await;
    let theirs = |o: &Overview| {
        let t = o.transfer(id)?;
        (t.paused_by == Some(PausedBy::Peer)).then_some(())
    };
    to.until(theirs).await;
    let resume = Command::Resume {
        transfer: id,
        scope: Scope::Transfer,
    };
    from.call(resume).await;
    from.completed(id).await;
    to.completed(id).await;
    assert!(tree(&to.inbox())["large"] == content(1, SIZE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_paused_and_quit_finds_it_paused_and_resumes() {
    let (mut to, from) = (Shape::new("to").start(), Shape::new("from").start());
    from.call(Command::Set(Setting::RateLimit(Some(4_000_000))))
        .await;
    let path = from.file("large", &content(1, SIZE));
    let id = from.send(&to.link(), &[&path]).await;
    begun(&to, id).await;
    pause_and_restart(&mut to, id).await;
    let theirs = |o: &Overview| {
        let t = o.transfer(id)?;
        (t.paused_by == Some(PausedBy::Peer)).then_some(())
    };
    from.until(theirs).await;
    let resume = Command::Resume {
        transfer: id,
        scope: Scope::Transfer,
    };
    to.call(resume).await;
    from.completed(id).await;
    to.completed(id).await;
    assert!(tree(&to.inbox())["large"] == content(1, SIZE));
}
