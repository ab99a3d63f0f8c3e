//! What happens when a name is taken.

use peerconnect::config::ConflictPolicy;
use peerconnect::protocol::message::{Outcome, SinkFault};

use crate::common::content;
use crate::on_every_link;
use crate::pair::{Memory, Pair};
use crate::world::World;

on_every_link! {
    a_taken_name_gets_a_number
    skipping_keeps_what_is_there
    overwriting_replaces_what_is_there
    failing_fails_for_this_file_only
    equal_content_is_not_sent_with_any_policy
    of_a_changed_file_only_the_changed_group_is_sent
}

const MIB: u64 = 1024 * 1024;

/// A small and a large file whose names are taken by other content, and one that is free.
async fn conflict<P: Pair>(policy: ConflictPolicy) -> World<P> {
    let mut world = World::<P>::with_policy(policy).await;
    std::fs::create_dir(world.inbox()).unwrap();
    for (name, size) in [("small", 3), ("same length", 5), ("large", 2_000_000)] {
        std::fs::write(world.inbox().join(name), content(1, size)).unwrap();
    }
    world.file("free", b"free");
    world.file("large", &content(2, 2_000_000));
    world.file("same length", b"other");
    world.file("small", b"longer");
    world.send_all().await;
    assert_eq!(world.got("free"), b"free");
    world
}

fn is_old<P: Pair>(world: &World<P>) -> bool {
    let same = |name: &str, size| world.got(name) == content(1, size);
    same("small", 3) && same("same length", 5) && same("large", 2_000_000)
}

fn outcomes<P: Pair>(world: &World<P>) -> Vec<Outcome> {
    let names = ["small", "same length", "large"];
    let outcome = |name: &str| {
        let side = &world.receiving;
        side.outcome(side.index(name)).unwrap()
    };
    names.into_iter().map(outcome).collect()
}

async fn a_taken_name_gets_a_number<P: Pair>() {
    let world = conflict::<P>(ConflictPolicy::Rename).await;
    assert!(is_old(&world));
    assert_eq!(world.got("small (1)"), b"longer");
    assert_eq!(world.got("same length (1)"), b"other");
    assert!(world.got("large (1)") == content(2, 2_000_000));
    assert_eq!(outcomes(&world), [Outcome::Renamed; 3]);
    let row = world.sending.table.lock().row(1).unwrap();
    assert_eq!(row.saved_as.as_deref(), Some("large (1)"));
}

async fn skipping_keeps_what_is_there<P: Pair>() {
    let world = conflict::<P>(ConflictPolicy::Skip).await;
    assert!(is_old(&world));
    assert_eq!(outcomes(&world), [Outcome::Skipped; 3]);
    assert_eq!(crate::common::tree(&world.inbox()).len(), 4);
}

async fn overwriting_replaces_what_is_there<P: Pair>() {
    let world = conflict::<P>(ConflictPolicy::Overwrite).await;
    assert_eq!(world.got("small"), b"longer");
    assert_eq!(world.got("same length"), b"other");
    assert!(world.got("large") == content(2, 2_000_000));
    assert_eq!(outcomes(&world), [Outcome::Overwritten; 3]);
    assert_eq!(crate::common::tree(&world.inbox()).len(), 4);
}

async fn failing_fails_for_this_file_only<P: Pair>() {
    let world = conflict::<P>(ConflictPolicy::Fail).await;
    assert!(is_old(&world));
    assert_eq!(outcomes(&world), [Outcome::Failed(SinkFault::Exists); 3]);
    assert_eq!(crate::common::tree(&world.inbox()).len(), 4);
    assert_eq!(world.sending.table.lock().totals().files_failed, 3);
}

async fn equal_content_is_not_sent_with_any_policy<P: Pair>() {
    let policies = [
        ConflictPolicy::Rename,
        ConflictPolicy::Skip,
        ConflictPolicy::Overwrite,
        ConflictPolicy::Fail,
    ];
    let mut pair = P::new().await;
    for policy in policies {
        let mut world = World::with(pair, |terms| terms.on_conflict = policy);
        world.file("d/large", &content(1, 3_333_333));
        world.file("d/small", b"small");
        world.file("d/nothing", b"");
        world.send_all().await;
        assert_eq!(world.sending.moved(), 3_333_338);
        world.another();
        world.send_all().await;
        assert_eq!((world.sending.moved(), world.receiving.moved()), (0, 0));
        let same = |name: &str| world.receiving.outcome(world.receiving.index(name));
        assert_eq!(same("d/large"), Some(Outcome::Identical), "{policy:?}");
        assert_eq!(same("d/small"), Some(Outcome::Identical), "{policy:?}");
        assert_eq!(same("d/nothing"), Some(Outcome::Identical), "{policy:?}");
        assert_eq!(world.sending.done(), 3_333_338);
        pair = world.pair;
    }
}

async fn of_a_changed_file_only_the_changed_group_is_sent<P: Pair>() {
    let mut world = World::<P>::with_policy(ConflictPolicy::Overwrite).await;
    let mut bytes = content(1, 6_000_000);
    world.file("x", &bytes);
    world.send_all().await;
    bytes[3_500_000] ^= 1;
    world.file("x", &bytes);
    world.another();
    world.send_all().await;
    assert!(world.got("x") == bytes);
    assert_eq!(world.sending.moved(), MIB);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_shrinks_to_a_prefix_of_what_is_there_is_not_identical() {
    let mut world = World::<Memory>::with_policy(ConflictPolicy::Rename).await;
    let bytes = content(1, 3_500_000);
    let path = world.file("x", &bytes);
    world.send_all().await;
    world.another();
    world.offer(&[&path]);
    // After the offer: the receiver looks for a file of the offered length, and has one.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(3 * MIB).unwrap();
    world.complete().await;
    assert!(world.got("x") == bytes);
    assert!(world.got("x (1)") == bytes[..3 * MIB as usize]);
}

#[tokio::test(start_paused = true)]
async fn folders_are_joined_and_a_file_in_the_place_of_a_folder_fails_alone() {
    let mut world = World::<Memory>::new().await;
    std::fs::create_dir_all(world.inbox().join("joined")).unwrap();
    std::fs::write(world.inbox().join("joined/old"), b"old").unwrap();
    std::fs::write(world.inbox().join("file"), b"a file").unwrap();
    world.file("joined/new", b"new");
    world.file("file/below", b"below");
    world.send_all().await;
    assert_eq!(world.got("joined/old"), b"old");
    assert_eq!(world.got("joined/new"), b"new");
    assert_eq!(world.got("file"), b"a file");
    let below = world.receiving.index("file/below");
    let failed = |outcome| matches!(outcome, Some(Outcome::Failed(_)));
    assert!(failed(world.receiving.outcome(below)));
}
