//! How many small files a second get their final names, on one thread.
//!
//! The files go to a memory file system where there is one: what is measured is our own calls,
//! not a disk. Goal: 60,000 files a second.

#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros make undocumented functions"
)]

use std::path::Path;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use peerconnect::config::ConflictPolicy;
use peerconnect::protocol::message::Timestamp;
use peerconnect::storage::folder::Folder;
use peerconnect::storage::name::SafePath;
use peerconnect::storage::publish::{Content, Finished, publish};

const FILES: usize = 10_000;
const BATCH: usize = 256;

fn files() -> Vec<Vec<Finished>> {
    let bytes = Bytes::from(vec![7; 4096]);
    let all: Vec<usize> = (0..FILES).collect();
    let file = |n: &usize| Finished {
        path: SafePath::parse(&format!("photos/{}/IMG_{n:05}.jpg", n / 500)).expect("plain"),
        modified: Timestamp(1_700_000_000_000_000_000),
        executable: false,
        content: Content::Small {
            bytes: bytes.clone(),
            tag: format!("0123456789abcdef-{n}"),
        },
        policy: ConflictPolicy::Rename,
    };
    let batches = all.chunks(BATCH);
    batches
        .map(|batch| batch.iter().map(file).collect())
        .collect()
}

fn publish_small_files(c: &mut Criterion) {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    let place = place.expect("a temporary folder");
    let mut group = c.benchmark_group("disk");
    group.sample_size(10);
    group.throughput(Throughput::Elements(FILES as u64));
    group.bench_function("publish 10,000 files of 4 KiB", |b| {
        b.iter_batched(
            || {
                let dir = tempfile::tempdir_in(place.path()).expect("a temporary folder");
                let folder = Folder::open(dir.path()).expect("the folder opens");
                (dir, folder, files())
            },
            |(dir, folder, files)| {
                for batch in files {
                    for result in publish(&folder, batch) {
                        result.expect("the file is saved");
                    }
                }
                (dir, folder)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, publish_small_files);
criterion_main!(benches);
