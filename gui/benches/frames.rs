//! How long a frame takes while ten thousand files are shown and the node publishes ten pictures a
//! second. Prints the mean and the worst of them, in milliseconds: what the window works out
//! itself, and its triangles. Nothing is painted.
//!
//! `cargo bench -p peerconnect-gui --bench frames`
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
use peerconnect::transfer::status::{FileQuery, FileState, TransferSnapshot};
use peerconnect_gui::{App, Drops, Log, Outside, Picked};
use tokio::sync::{mpsc, watch};

/// Files of the transfer.
const FILES: u32 = 10_000;
/// Frames in a second, and between two pictures of the node.
const FRAMES: u32 = 60;
const FRAMES_PER_PICTURE: u32 = 6;
/// Seconds that are measured.
const SECONDS: u32 = 10;

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

fn tell(what: &str, times: &[Duration]) {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let all: Duration = times.iter().sum();
    let mean = milliseconds(all) / times.len() as f64;
    let worst = milliseconds(times.iter().copied().max().unwrap_or_default());
    println!("{what:<28} mean {mean:>6.2} ms   worst {worst:>6.2} ms");
}

fn main() {
    let (node, mut requests, pictures) = NodeHandle::new(Overview::clone(&picture(0)));
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
    let unfold = "Show files of holiday.mp4, a.pdf and 1 more to Living-room PC";
    window.get_all_by_label(unfold).next().unwrap().click();
    window.run_steps(2);
    answer(&mut requests, 0);
    window.run_steps(2);
    let rows = window.query_all_by_label_contains("photos/").count();
    assert!(rows > 0, "no files are shown");
    measure(&mut window, &mut requests, &pictures);
}

fn measure(
    window: &mut Harness<'_, Drawn>,
    requests: &mut mpsc::Receiver<Request>,
    pictures: &watch::Sender<Arc<Overview>>,
) {
    let (mut frames, mut triangles) = (Vec::new(), Vec::new());
    for frame in 0..FRAMES * SECONDS {
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
    println!("{FILES} files unfolded, 10 pictures a second, {SECONDS} s");
    tell("what the window works out", &frames);
    tell("triangles", &triangles);
}
