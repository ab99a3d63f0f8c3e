//! How long a frame takes while the node publishes ten pictures a second: with ten thousand files
//! shown, and with hundreds of transfers that have ended and a session of as many receivers
//! unfolded. Prints the mean and the worst of them, in milliseconds: what the window works out
//! itself, and its triangles. Nothing is painted.
//!
//! `cargo bench -p peerconnect-gui --bench frames`
//!
//! With `--check` it takes less time, and fails if the mean is longer than a frame may be. A build
//! for tests is far below that, too:
//!
//! `cargo test --workspace --bench frames -- --check`
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../src/samples.rs"]
mod samples;

use std::sync::Arc;
use std::time::{Duration, Instant};

use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use peerconnect::node::api::{Command, NodeHandle, Overview, Reply, Request};
use peerconnect::protocol::message::Outcome;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{FileQuery, FileState, TransferSnapshot};
use peerconnect_gui::{App, Drops, Log, Outside, Picked};
use tokio::sync::{mpsc, watch};

/// Files of the transfer.
const FILES: u32 = 10_000;
/// Frames in a second, and between two pictures of the node.
const FRAMES: u32 = 60;
const FRAMES_PER_PICTURE: u32 = 6;
/// Seconds that are measured; fewer where it is only checked.
const SECONDS: u32 = 10;
const CHECK_SECONDS: u32 = 3;
/// How long a frame may take, in milliseconds: a screen shows about sixty a second.
const FRAME_MAX: f64 = 16.0;
/// Transfers that have ended, and receivers of one session.
const CARDS: u8 = 200;

/// What a window of a thousand points shows is a few dozen rows; all are scrolled past.
const SIZE: [f32; 2] = [1000.0, 700.0];

struct Drawn {
    node: Option<NodeHandle>,
    app: Option<App>,
    took: Duration,
}

impl Drawn {
    fn frame(&mut self, ui: &mut egui::Ui) {
        if let Some(node) = self.node.take() {
            self.app = Some(App::new(ui.ctx(), node, outside()));
        }
        let Some(app) = &mut self.app else { return };
        let begun = Instant::now();
        app.logic(&ui.ctx().clone());
        app.ui(ui);
        self.took = begun.elapsed();
    }
}

fn outside() -> Outside {
    Outside {
        run: Arc::new(|job| job()),
        pick: Arc::new(|_| Picked::Nothing),
        notify: Arc::new(|_| {}),
        ..Outside::real(Log::default(), Drops::Anywhere)
    }
}

/// The node at this time: a file more is done in each picture.
fn picture(done: u32) -> Arc<Overview> {
    let t = TransferSnapshot {
        files: FILES,
        entries: FILES,
        files_done: done,
        settled: done,
        bytes_done: u64::from(done) * 100_000,
        ..samples::sending()
    };
    let others = (2..12).map(samples::numbered);
    let peers = (0..20).map(|n| samples::trusted(&format!("Computer {n}")));
    samples::overview(peers.collect(), others.chain([t]).collect())
}

fn answer(requests: &mut mpsc::Receiver<Request>, done: u32) {
    while let Ok((command, reply)) = requests.try_recv() {
        if let Command::Files {
            query: FileQuery::Range { from, count },
            ..
        } = command
        {
            let rows = from..(from + count).min(FILES);
            let rows = rows.map(|index| {
                let mut row = samples::row(index);
                if index < done {
                    row.state = FileState::Settled(Outcome::New);
                }
                row
            });
            // The window may have gone on.
            let _ = reply.send(Ok(Reply::Files(rows.collect())));
        }
    }
}

/// The node with very many cards: a few more bytes have arrived in each picture.
fn cards(done: u32) -> Arc<Overview> {
    let names: Vec<String> = (0..CARDS).map(|n| format!("Computer {n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut overview = samples::many(&names, |_, t| {
        t.id.0[1] = 1;
        t.bytes_done += u64::from(done) * 100_000;
    });
    let ended = (0..CARDS).map(|n| TransferSnapshot {
        state: TransferState::Completed,
        ..samples::numbered(n)
    });
    // The newest, which stand above, are those of the session.
    let all = ended.chain(overview.transfers.iter().cloned());
    let all: Arc<[TransferSnapshot]> = all.collect();
    Arc::make_mut(&mut overview).transfers = all;
    overview
}

/// Prints the mean and the worst; the mean, in milliseconds.
fn tell(what: &str, times: &[Duration]) -> f64 {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let all: Duration = times.iter().sum();
    let mean = milliseconds(all) / times.len() as f64;
    let worst = milliseconds(times.iter().copied().max().unwrap_or_default());
    println!("{what:<28} mean {mean:>6.2} ms   worst {worst:>6.2} ms");
    mean
}

type Pictures = watch::Sender<Arc<Overview>>;

/// A window on a node that looks like this.
fn window(first: &Overview) -> (Harness<'static, Drawn>, mpsc::Receiver<Request>, Pictures) {
    let (node, requests, pictures) = NodeHandle::new(first.clone());
    let drawn = Drawn {
        node: Some(node),
        app: None,
        took: Duration::ZERO,
    };
    let mut window = Harness::builder()
        .with_size(SIZE)
        .with_step_dt(1.0 / FRAMES as f32)
        .build_ui_state(|ui, drawn: &mut Drawn| drawn.frame(ui), drawn);
    window.run_steps(2);
    (window, requests, pictures)
}

fn main() {
    let check = std::env::args().any(|argument| argument == "--check");
    let seconds = if check { CHECK_SECONDS } else { SECONDS };
    for (what, mean) in [
        ("ten thousand files", files(seconds)),
        ("very many cards", many_cards(seconds)),
    ] {
        assert!(
            !check || mean <= FRAME_MAX,
            "{what}: a frame takes {mean:.1} ms, not {FRAME_MAX} at most"
        );
    }
}

fn many_cards(seconds: u32) -> f64 {
    let (mut window, mut requests, pictures) = window(&cards(0));
    let unfold = format!("Show devices of holiday.mp4, a.pdf and 1 more to {CARDS} devices");
    window.get_by_label(&unfold).click();
    window.run_steps(2);
    println!("{CARDS} transfers that ended, {CARDS} receivers unfolded, {seconds} s");
    measure(&mut window, &mut requests, &pictures, (seconds, cards))
}

fn files(seconds: u32) -> f64 {
    let (mut window, mut requests, pictures) = window(&picture(0));
    let unfold = "Show files of holiday.mp4, a.pdf and 1 more to Living-room PC";
    window.get_all_by_label(unfold).next().unwrap().click();
    window.run_steps(2);
    answer(&mut requests, 0);
    window.run_steps(2);
    let rows = window.query_all_by_label_contains("photos/").count();
    assert!(rows > 0, "no files are shown");
    println!("{FILES} files unfolded, {seconds} s");
    measure(&mut window, &mut requests, &pictures, (seconds, picture))
}

/// How long a frame takes in the mean, in milliseconds, while so many seconds of these pictures go
/// by.
fn measure(
    window: &mut Harness<'_, Drawn>,
    requests: &mut mpsc::Receiver<Request>,
    pictures: &Pictures,
    (seconds, picture): (u32, fn(u32) -> Arc<Overview>),
) -> f64 {
    let (mut frames, mut triangles) = (Vec::new(), Vec::new());
    for frame in 0..FRAMES * seconds {
        let done = frame / FRAMES_PER_PICTURE;
        if frame % FRAMES_PER_PICTURE == 0 {
            pictures.send_replace(picture(done));
        }
        window.step();
        answer(requests, done);
        frames.push(window.state().took);
        let shapes = window.output().shapes.clone();
        let begun = Instant::now();
        let made = window.ctx.tessellate(shapes, 1.0);
        triangles.push(begun.elapsed());
        drop(made);
    }
    tell("what the window works out", &frames) + tell("triangles", &triangles)
}
