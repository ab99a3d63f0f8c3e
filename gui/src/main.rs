//! Opens the window of PeerConnect, or says why there is none.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use peerconnect::config::Paths;
use peerconnect_gui::{
    APP_ID, Asked, Drops, LICENCES, Log, Look, Opened, Outside, Window, XServer, icon,
};

mod background;
mod hidden;

use background::Background;

/// Exit code where there is nothing to open a window on, as for other wrong uses of a program.
const NO_WINDOW: u8 = 2;

/// What to do without a window.
const COMMAND_LINE: &str = "Use the command line: peerconnect send FILE… --to LINK, peerconnect \
                            receive; see peerconnect --help.";

/// How there comes to be a command line, where only the window was built.
const INSTALL: &str = " In a clone, cargo install --path . installs it.";

const USAGE: &str = "Usage: peerconnect-gui [LINK] [FILE]… | --hidden";

const HELP: &str = "\
Opens the window of PeerConnect, which sends files between computers.

Usage: peerconnect-gui [LINK] [FILE]… | --hidden

  LINK        The link of a device (peerconnect:…), to be added
  FILE        Files and folders to send
  --hidden    Without a window until somebody waits for an answer
  --licences  Print the licences of what this program is built with

On the command line: peerconnect --help";

/// How long the end of the program waits for a node to put its last things in order.
const END_WAIT: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let (opened, focus) = match Asked::of(std::env::args_os().skip(1)) {
        Asked::Window(opened) => (opened, Focus::Taken),
        Asked::Question => (Opened::default(), Focus::Left),
        Asked::Hidden => return hide(),
        Asked::Help => {
            let _ = writeln!(std::io::stdout(), "{HELP}");
            return ExitCode::SUCCESS;
        }
        Asked::Licences => {
            let _ = std::io::stdout().write_all(LICENCES.as_bytes());
            return ExitCode::SUCCESS;
        }
        Asked::Unknown(option) => {
            let _ = writeln!(std::io::stderr(), "There is no option {option:?}. {USAGE}");
            return ExitCode::from(NO_WINDOW);
        }
    };
    let open = Arc::new(AtomicBool::new(false));
    hush_panics_until(open.clone());
    let result = catch_unwind(AssertUnwindSafe(|| run(open.clone(), opened, focus)));
    let missing = match result {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        // Libraries of the display that are missing are panics in winit.
        Err(panic) if open.load(Ordering::SeqCst) => resume_unwind(panic),
        Err(_) | Ok(Err(eframe::Error::Winit(_) | eframe::Error::WinitEventLoop(_))) => {
            "No display found.".to_owned()
        }
        Ok(Err(error)) => format!("No window can be drawn here ({error})."),
    };
    // Without a standard error there is nobody to tell.
    let install = match has_command_line() {
        true => "",
        false => INSTALL,
    };
    let _ = writeln!(std::io::stderr(), "{missing} {COMMAND_LINE}{install}");
    ExitCode::from(NO_WINDOW)
}

/// Whether a window that opens takes the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Focus {
    /// The person has asked for it.
    Taken,
    /// It opens by itself: whoever types goes on typing where he is.
    Left,
}

/// Runs without a window.
fn hide() -> ExitCode {
    match hidden::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            let _ = writeln!(std::io::stderr(), "{fault}");
            ExitCode::from(fault.exit_code())
        }
    }
}

/// Whether the command line is beside this program, as it is where both were built or installed.
fn has_command_line() -> bool {
    let here = std::env::current_exe();
    here.is_ok_and(|exe| exe.with_file_name("peerconnect").is_file())
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

fn run(open: Arc<AtomicBool>, opened: Opened, focus: Focus) -> eframe::Result {
    let log = Log::default();
    log.install();
    let paths = Paths::find(None);
    let look = Look::load(&paths);
    let viewport = egui::ViewportBuilder::default()
        .with_app_id(APP_ID)
        .with_title("PeerConnect")
        .with_icon(icon())
        .with_active(focus == Focus::Taken)
        .with_inner_size(look.size())
        .with_min_inner_size(Look::SIZE_MIN);
    let server = XServer::connect();
    let options = eframe::NativeOptions {
        viewport,
        event_loop_builder: server.as_ref().map(|_| on_x_server()),
        ..eframe::NativeOptions::default()
    };
    let behind = Arc::new(OnceLock::new());
    let kept = Arc::clone(&behind);
    let (alive, ended) = mpsc::sync_channel(0);
    let create: eframe::AppCreator<'_> = Box::new(move |cc| {
        open.store(true, Ordering::SeqCst);
        let background = Background::new(paths.clone(), alive);
        let start = Arc::new(move |wake| background.start(wake));
        let drops = Drops::of(cc, server);
        let window = Window::new(&cc.egui_ctx, Outside::real(log, drops), start);
        let window = window.remember(&cc.egui_ctx, paths, look).open_with(opened);
        // There is one window.
        let _ = kept.set(window.behind());
        Ok(Box::new(window))
    });
    eframe::run_native("PeerConnect", options, create)?;
    let behind = behind.get().is_some_and(|b| b.load(Ordering::SeqCst));
    // Ends when the last thread that holds a node has let go of `alive`.
    let _ = match behind {
        true => ended.recv().is_ok(),
        false => ended.recv_timeout(END_WAIT).is_ok(),
    };
    Ok(())
}

/// Has the window opened on an X server, also where there is Wayland: only there it takes drops.
#[cfg(target_os = "linux")]
fn on_x_server() -> eframe::EventLoopBuilderHook {
    use winit::platform::x11::EventLoopBuilderExtX11;

    Box::new(|builder| {
        builder.with_x11();
    })
}

#[cfg(not(target_os = "linux"))]
fn on_x_server() -> eframe::EventLoopBuilderHook {
    Box::new(|_| {})
}
