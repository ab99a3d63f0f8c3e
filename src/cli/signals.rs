//! Signals: the first asks for an orderly end, the second ends at once.
//!
//! They are watched by a thread of their own, so that they work while the rest of the program
//! waits for a terminal that stands still or a pipe that nobody reads.

use std::io;
use std::time::Duration;

use tokio::sync::watch;

use super::exit::Exit;

/// How long an orderly end may take after SIGTERM: service managers count to two here.
const TERM_WAIT: Duration = Duration::from_millis(1800);

/// How long an orderly end may take after Ctrl-C; a person presses it again before that.
const INTERRUPT_WAIT: Duration = Duration::from_secs(10);

/// Which end was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Interrupt,
    Terminate,
}

impl Signal {
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Interrupt => Exit::INTERRUPTED,
            Self::Terminate => Exit::TERMINATED,
        }
    }

    fn wait(self) -> Duration {
        match self {
            Self::Interrupt => INTERRUPT_WAIT,
            Self::Terminate => TERM_WAIT,
        }
    }
}

/// Where a signal shows up.
#[derive(Debug, Clone)]
pub(crate) struct Signals(watch::Receiver<Option<Signal>>);

impl Signals {
    /// Starts to watch. `stay` ignores the end of the login session (SIGHUP).
    pub(crate) fn watch(stay: bool) -> io::Result<Self> {
        let (report, signals) = watch::channel(None);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut sources = Sources::open(&runtime, stay)?;
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || runtime.block_on(run(&mut sources, &report)))?;
        Ok(Self(signals))
    }

    /// Signals that never come.
    #[cfg(test)]
    pub(crate) fn none() -> (watch::Sender<Option<Signal>>, Self) {
        let (report, signals) = watch::channel(None);
        (report, Self(signals))
    }

    /// Waits for the first signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        match self.0.wait_for(Option::is_some).await {
            Ok(signal) => signal.unwrap_or(Signal::Interrupt),
            Err(_) => std::future::pending().await,
        }
    }
}

async fn run(sources: &mut Sources, report: &watch::Sender<Option<Signal>>) {
    let first = sources.next().await;
    report.send_replace(Some(first));
    tokio::select! {
        second = sources.next() => std::process::exit(second.exit().0.into()),
        () = tokio::time::sleep(first.wait()) => std::process::exit(first.exit().0.into()),
    }
}

#[cfg(unix)]
struct Sources {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Sources {
    fn open(runtime: &tokio::runtime::Runtime, stay: bool) -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let _inside = runtime.enter();
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: stay.then(|| signal(SignalKind::hangup())).transpose()?,
        })
    }

    async fn next(&mut self) -> Signal {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => while hangup.recv().await.is_some() {},
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            () = hangup => std::future::pending().await,
        }
    }
}

#[cfg(not(unix))]
struct Sources;

#[cfg(not(unix))]
impl Sources {
    fn open(_: &tokio::runtime::Runtime, _: bool) -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }
}
