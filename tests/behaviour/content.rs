//! What arrives is what was sent.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use peerconnect::protocol::message::Outcome;

use crate::common::content;
use crate::on_every_link;
use crate::pair::Pair;
use crate::world::World;

on_every_link! {
    one_file_arrives_with_its_time
    many_files_and_folders_arrive
    empty_files_and_empty_folders_arrive
    links_and_executable_files_stay_what_they_are
    folders_have_the_times_of_their_originals
    group_borders_do_not_matter
    files_of_one_name_from_different_places_arrive_beside_each_other
    both_sides_know_the_hash_of_what_arrived
}

fn set_time(path: &Path, seconds: u64) -> SystemTime {
    let time = UNIX_EPOCH + Duration::new(seconds, 123_000_000);
    std::fs::File::open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
    time
}

async fn one_file_arrives_with_its_time<P: Pair>() {
    let mut world = World::<P>::new().await;
    let bytes = content(1, 2_500_000);
    let path = world.file("a.bin", &bytes);
    let time = set_time(&path, 1_000_000_000);
    world.send_all().await;
    assert_eq!(world.got("a.bin"), bytes);
    let copy = world.inbox().join("a.bin").metadata().unwrap();
    assert_eq!(copy.modified().unwrap(), time);
    assert_eq!(world.sending.done(), 2_500_000);
    assert_eq!(world.receiving.done(), 2_500_000);
    assert_eq!(world.receiving.outcomes(), [Some(Outcome::New)]);
}

async fn many_files_and_folders_arrive<P: Pair>() {
    let mut world = World::<P>::new().await;
    for i in 0..400 {
        let name = format!("d{}/e{}/f{i}", i % 3, i % 7);
        world.file(&name, format!("content {i}").as_bytes());
    }
    world.file("d0/large", &content(2, 3_000_000));
    world.file("照片 é\u{301}.jpg", b"x");
    world.send_all().await;
    let (sent, got) = (
        crate::common::tree(&world.out()),
        crate::common::tree(&world.inbox()),
    );
    assert!(sent.len() > 400 && sent == got);
}

async fn empty_files_and_empty_folders_arrive<P: Pair>() {
    let mut world = World::<P>::new().await;
    world.file("nothing", b"");
    std::fs::create_dir_all(world.out().join("hollow/deeper")).unwrap();
    world.send_all().await;
    assert_eq!(world.got("nothing"), b"");
    assert!(world.inbox().join("hollow/deeper").is_dir());
}

async fn links_and_executable_files_stay_what_they_are<P: Pair>() {
    let mut world = World::<P>::new().await;
    let script = world.file("d/run.sh", b"#!/bin/sh\n");
    world.file("d/plain", &content(3, 1_500_000));
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    symlink("run.sh", world.out().join("d/link")).unwrap();
    world.send_all().await;
    let link = world.inbox().join("d/link");
    assert_eq!(std::fs::read_link(link).unwrap(), Path::new("run.sh"));
    let mode = |name: &str| world.inbox().join(name).metadata().unwrap().mode();
    assert_eq!(mode("d/run.sh") & 0o100, 0o100);
    assert_eq!(mode("d/plain") & 0o111, 0);
}

async fn folders_have_the_times_of_their_originals<P: Pair>() {
    let mut world = World::<P>::new().await;
    world.file("d/e/f", b"f");
    world.file("d/large", &content(4, 2_000_000));
    let inner = set_time(&world.out().join("d/e"), 1_100_000_000);
    let outer = set_time(&world.out().join("d"), 1_200_000_000);
    world.send_all().await;
    let time = |name: &str| {
        let folder = world.inbox().join(name);
        folder.metadata().unwrap().modified().unwrap()
    };
    assert_eq!((time("d"), time("d/e")), (outer, inner));
}

async fn group_borders_do_not_matter<P: Pair>() {
    let mut world = World::<P>::new().await;
    let mib = 1024 * 1024;
    let sizes = [1, mib - 1, mib, mib + 1, 2 * mib, 3 * mib + 17];
    for (seed, size) in (10..).zip(sizes) {
        world.file(&format!("{size}"), &content(seed, size));
    }
    world.send_all().await;
    for (seed, size) in (10..).zip(sizes) {
        assert!(
            world.got(&format!("{size}")) == content(seed, size),
            "{size}"
        );
    }
}

async fn files_of_one_name_from_different_places_arrive_beside_each_other<P: Pair>() {
    let mut world = World::<P>::new().await;
    let one = world.file("a/name.txt", b"one");
    let other = world.file("b/name.txt", b"other");
    world.file("c/Name.txt", b"third");
    let third = world.out().join("c/Name.txt");
    world.offer(&[&one, &other, &third]);
    world.complete().await;
    assert_eq!(world.got("name.txt"), b"one");
    assert_eq!(world.got("name (1).txt"), b"other");
    assert_eq!(world.got("Name.txt"), b"third");
}

async fn both_sides_know_the_hash_of_what_arrived<P: Pair>() {
    let mut world = World::<P>::new().await;
    let (small, large) = (b"small".to_vec(), content(5, 4_000_000));
    world.file("small", &small);
    world.file("large", &large);
    world.send_all().await;
    for side in [&world.sending, &world.receiving] {
        for (name, bytes) in [("small", &small), ("large", &large)] {
            let index = side.index(name);
            let row = side.table.lock().row(index).unwrap();
            assert_eq!(row.hash, Some(*blake3::hash(bytes).as_bytes()), "{name}");
        }
    }
}
