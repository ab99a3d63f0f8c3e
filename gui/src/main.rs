//! Opens the window of PeerConnect, or says why there is none.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use peerconnect::fault::Fault;
use peerconnect::node::api::NodeHandle;
use peerconnect_gui::{Outside, Wake, Window, icon};

/// Exit code where there is nothing to open a window on, as for other wrong uses of a program.
const NO_WINDOW: u8 = 2;

/// What to do without a window.
const COMMAND_LINE: &str = "Use the command line: peerconnect send FILE… --to LINK, peerconnect \
                            receive; see peerconnect --help.";

fn main() -> ExitCode {
    let open = Arc::new(AtomicBool::new(false));
    hush_panics_until(open.clone());
    let result = catch_unwind(AssertUnwindSafe(|| run(open.clone())));
    let missing = match result {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        // Libraries of the display that are missing are panics in winit.
        Err(panic) if open.load(Ordering::SeqCst) => resume_unwind(panic),
        Err(_) | Ok(Err(eframe::Error::Winit(_) | eframe::Error::WinitEventLoop(_))) => {
            "No display found.".to_owned()
        }
        Ok(Err(error)) => format!("No window can be drawn here ({error})."),
    };
    eprintln!("{missing} {COMMAND_LINE}");
    ExitCode::from(NO_WINDOW)
}

/// Panics while the window opens are told in our words; later ones are faults of this program and
/// are told as such.
fn hush_panics_until(open: Arc<AtomicBool>) {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if open.load(Ordering::SeqCst) {
            tell(panic);
        }
    }));
}

fn run(open: Arc<AtomicBool>) -> eframe::Result {
    let viewport = egui::ViewportBuilder::default()
        .with_app_id("peerconnect")
        .with_title("PeerConnect")
        .with_icon(icon())
        .with_inner_size([1040.0, 680.0])
        .with_min_inner_size([760.0, 440.0]);
    let options = eframe::NativeOptions {
        viewport,
        ..eframe::NativeOptions::default()
    };
    let create: eframe::AppCreator<'_> = Box::new(move |cc| {
        open.store(true, Ordering::SeqCst);
        let window = Window::new(&cc.egui_ctx, Outside::real(), Box::new(start_node));
        Ok(Box::new(window))
    });
    eframe::run_native("PeerConnect", options, create)
}

/// The node of this user: the one that runs already, or a new one in this process.
fn start_node(_wake: Wake) -> Result<NodeHandle, Fault> {
    Err(Fault::Internal {
        what: "this build of the window has no node".into(),
    })
}
