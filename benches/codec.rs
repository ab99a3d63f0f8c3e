//! What every byte and every file passes: frames, group hashes, and the reading and writing of
//! groups.
//!
//! `cargo bench -p peerconnect --bench codec`. Reading and writing go to a memory file system
//! where there is one:
//! what is measured is our own work, not a disk.

#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros make undocumented functions"
)]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peerconnect::protocol::frame;
use peerconnect::protocol::groups::{GROUP_LEN, GroupHasher, file_hash, hash_group};
use peerconnect::protocol::message::{Entry, EntryKind, SenderMessage, Timestamp};
use peerconnect::storage::folder::Folder;
use peerconnect::storage::name::SafePath;
use peerconnect::storage::part::Part;
use peerconnect::storage::source::SourceFile;

/// Entries on one page of a manifest.
const ENTRIES: usize = 500;
/// Groups of the file that is read and written.
const GROUPS: u64 = 16;
/// Pieces as they come from the network, and as the disk likes them.
const PIECE: usize = 256 * 1024;

fn page() -> SenderMessage {
    let entry = |n: usize| Entry {
        path: format!("holiday/2026/day {}/IMG_{n:05}.jpg", n / 100),
        kind: EntryKind::File {
            size: 4_000_000 + n as u64,
            modified: Timestamp(1_700_000_000_000_000_000),
            executable: false,
        },
    };
    SenderMessage::Entries((0..ENTRIES).map(entry).collect())
}

fn framing(c: &mut Criterion) {
    let message = page();
    let bytes = frame::encode(&message).expect("a page fits a frame");
    let mut group = c.benchmark_group("framing");
    group.throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("encode a page of entries", |b| {
        let mut out = Vec::with_capacity(bytes.len());
        b.iter(|| {
            out.clear();
            frame::encode_into(black_box(&message), &mut out).expect("it fits");
        });
    });
    group.bench_function("decode a page of entries", |b| {
        b.iter(|| frame::decode::<SenderMessage>(black_box(&bytes)).expect("it is right"));
    });
    group.finish();
}

fn hashing(c: &mut Criterion) {
    let content = vec![7; GROUP_LEN as usize];
    let size = GROUPS * GROUP_LEN;
    let mut group = c.benchmark_group("hashing");
    group.throughput(Throughput::Bytes(GROUP_LEN));
    group.bench_function("a group of 1 MiB in pieces of 256 KiB", |b| {
        b.iter(|| {
            let mut hasher = GroupHasher::new(size, 3);
            for piece in black_box(&content).chunks(PIECE) {
                hasher.update(piece);
            }
            hasher.finish()
        });
    });
    group.throughput(Throughput::Bytes(4096));
    group.bench_function("a file of 4 KiB", |b| {
        b.iter(|| hash_group(4096, 0, black_box(&content[..4096])));
    });
    let many = vec![[7; 32]; 10_000];
    group.throughput(Throughput::Elements(many.len() as u64));
    group.bench_function("a file of 10 GB from its groups", |b| {
        b.iter(|| file_hash(10_000 * GROUP_LEN, black_box(&many)));
    });
    group.finish();
}

fn reading_and_writing(c: &mut Criterion) {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    let place = place.expect("a temporary folder");
    let folder = Folder::open(place.path()).expect("the folder opens");
    let path = SafePath::parse("film.mp4").expect("a plain name");
    let part = Part::create(&folder, &path, "0123456789abcdef").expect("a part");
    let content = vec![7; PIECE];
    let size = GROUPS * GROUP_LEN;
    let offsets = || (0..size).step_by(PIECE);
    let mut group = c.benchmark_group("reading and writing");
    group.throughput(Throughput::Bytes(size));
    group.bench_function("write groups into a part", |b| {
        b.iter(|| {
            for offset in offsets() {
                part.write_at(offset, black_box(&content)).expect("room");
            }
        });
    });
    let file = place.path().join("source");
    std::fs::write(&file, vec![7; size as usize]).expect("room");
    let source = SourceFile::open(&file).expect("it is there");
    group.bench_function("read a source", |b| {
        let mut buffer = vec![0; PIECE];
        b.iter(|| {
            for offset in offsets() {
                let read = source.read_at(offset, black_box(&mut buffer));
                assert_eq!(read.expect("readable"), PIECE);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, framing, hashing, reading_and_writing);
criterion_main!(benches);
