//! Progress for people: one line for the whole and a few for files on their way or for receivers,
//! or plain lines where there is no terminal. The lines are pure functions; indicatif draws them.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use peerconnect::node::api::SessionSnapshot;
use peerconnect::text::{Shown, bytes, duration};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{FileRow, Limit, TransferSnapshot};

use super::json::path_words;

/// Most lines for single files.
pub(crate) const ACTIVE_MAX: usize = 5;

/// Most lines for single receivers.
const RECEIVERS_MAX: usize = 8;

/// Below this width a line has only what matters most.
const NARROW: usize = 60;

/// Without a byte for so long it is said, instead of a speed of 0.
const STALLED: Duration = Duration::from_secs(3);

/// Redraws per second.
const REDRAWS: u8 = 10;

/// Characters that a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Symbols {
    pub(crate) ok: &'static str,
    pub(crate) error: &'static str,
    pub(crate) dot: &'static str,
    full: char,
    head: char,
    empty: char,
}

impl Symbols {
    pub(crate) const UNICODE: Self = Self {
        ok: "✓",
        error: "✗",
        dot: "·",
        full: '━',
        head: '╸',
        empty: ' ',
    };
    pub(crate) const ASCII: Self = Self {
        ok: "OK",
        error: "ERR",
        dot: "-",
        full: '=',
        head: '>',
        empty: ' ',
    };

    /// Those of the locale, as `get` reads the environment.
    pub(crate) fn of_locale(get: impl Fn(&str) -> Option<String>) -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|key| get(key).filter(|value| !value.is_empty()))
            .unwrap_or_default()
            .to_ascii_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") {
            Self::UNICODE
        } else {
            Self::ASCII
        }
    }
}

/// Lines on a terminal that are drawn over.
#[derive(Debug)]
pub(crate) struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    files: Vec<ProgressBar>,
    moved: Option<(u64, Instant)>,
}

impl Bars {
    pub(crate) fn new() -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS);
        let all = MultiProgress::with_draw_target(target);
        let total = all.add(line_bar());
        Self {
            all,
            total,
            files: Vec::new(),
            moved: None,
        }
    }

    pub(crate) fn show(&mut self, transfer: &TransferSnapshot, symbols: Symbols) {
        let still = self.stands_still(transfer.bytes_done);
        let line = total_line(transfer, width(), still, symbols);
        self.total.set_message(line);
    }

    /// All receivers together, and those that have most before them.
    pub(crate) fn receivers(
        &mut self,
        session: &SessionSnapshot,
        transfers: &[&TransferSnapshot],
        symbols: Symbols,
    ) {
        let still = self.stands_still(session.bytes_done);
        let line = session_line(session, width(), still, symbols);
        self.total.set_message(line);
        let slowest = slowest(transfers).into_iter().take(RECEIVERS_MAX);
        let lines: Vec<String> = slowest.map(|t| receiver_line(t, width())).collect();
        self.below(lines);
    }

    /// For how long no byte has moved.
    fn stands_still(&mut self, done: u64) -> Duration {
        let now = Instant::now();
        let since = match self.moved {
            Some((before, since)) if before == done => since,
            Some(_) | None => now,
        };
        self.moved = Some((done, since));
        now - since
    }

    pub(crate) fn active(&mut self, rows: &[FileRow]) {
        let rows = rows.iter().take(ACTIVE_MAX);
        let lines: Vec<String> = rows.map(|row| file_line(row, width())).collect();
        self.below(lines);
    }

    fn below(&mut self, lines: Vec<String>) {
        while self.files.len() > lines.len() {
            if let Some(bar) = self.files.pop() {
                bar.finish_and_clear();
                self.all.remove(&bar);
            }
        }
        while self.files.len() < lines.len() {
            self.files.push(self.all.add(line_bar()));
        }
        for (bar, line) in self.files.iter().zip(lines) {
            bar.set_message(line);
        }
    }

    /// Writes something else above the lines.
    pub(crate) fn above(&self, write: impl FnOnce()) {
        self.all.suspend(write);
    }

    pub(crate) fn clear(&mut self) {
        self.active(&[]);
        self.total.finish_and_clear();
        // Drawing errors mean that there is no terminal any more.
        let _ = self.all.clear();
        *self = Self::new();
    }
}

fn line_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg}");
    let bar = ProgressBar::no_length();
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(unix)]
fn width_of(terminal: impl std::os::fd::AsFd) -> usize {
    let size = rustix::termios::tcgetwinsize(terminal).map(|size| size.ws_col);
    match size {
        Ok(columns) if columns > 0 => usize::from(columns) - 1,
        Ok(_) | Err(_) => WIDTH_ELSEWHERE,
    }
}

#[cfg(not(unix))]
fn width_of<T>(_terminal: T) -> usize {
    WIDTH_ELSEWHERE
}

fn width() -> usize {
    width_of(std::io::stderr())
}

/// Characters in a line of the terminal that results go to, at its last but one column.
pub(crate) fn width_of_results() -> usize {
    width_of(std::io::stdout())
}

/// Where nobody says how wide it is.
const WIDTH_ELSEWHERE: usize = 79;

/// `63% ━━━━━╸   756 MB/1.20 GB  108 MB/s  4 s  direct`, at most `width` characters.
fn total_line(
    t: &TransferSnapshot,
    width: usize,
    without_a_byte: Duration,
    symbols: Symbols,
) -> String {
    let percent = percent(t);
    let running = t.state == TransferState::Transferring;
    let speed = if !running {
        phase_word(t).to_owned()
    } else if without_a_byte >= STALLED && t.conflicts > 0 {
        format!("{} wait for your answer", t.conflicts)
    } else if without_a_byte >= STALLED {
        let seconds = duration(without_a_byte.as_secs());
        format!("stalled {seconds}{}", limit_word(t.limit))
    } else {
        format!("{}/s", bytes(t.rate))
    };
    if width < NARROW {
        return fit(format!("{percent:3}% {speed}"), width);
    }
    let left = match t.eta_seconds {
        _ if !running => String::new(),
        Some(seconds) => format!("  {}", duration(seconds)),
        None => "  --:--".into(),
    };
    let path = match &t.path {
        Some(path) => format!("  {}", path_words(path.kind)),
        None => String::new(),
    };
    let amount = format!("{}/{}", bytes(t.bytes_done), bytes(t.bytes));
    with_bar(
        percent,
        &format!("{amount}  {speed}{left}{path}"),
        width,
        symbols,
    )
}

fn with_bar(percent: u64, text: &str, width: usize, symbols: Symbols) -> String {
    let room = width.saturating_sub(text.chars().count() + 8).min(40);
    let bar = bar(percent, room, symbols);
    fit(format!("{percent:3}% {bar}  {text}"), width)
}

/// `63% ━━━━━╸   756 MB/1.20 GB  108 MB/s  4 s  1 of 3 done`, at most `width` characters.
fn session_line(
    s: &SessionSnapshot,
    width: usize,
    without_a_byte: Duration,
    symbols: Symbols,
) -> String {
    let percent = session_percent(s);
    let moving = s.state == TransferState::Transferring;
    let speed = if moving && without_a_byte >= STALLED {
        format!("stalled {}", duration(without_a_byte.as_secs()))
    } else if moving {
        format!("{}/s", bytes(s.rate))
    } else {
        state_phase(s.state).to_owned()
    };
    if width < NARROW {
        return fit(format!("{percent:3}% {speed}"), width);
    }
    let left = match s.eta_seconds {
        Some(seconds) => format!("  {}", duration(seconds)),
        None => String::new(),
    };
    let amount = format!("{}/{}", bytes(s.bytes_done), bytes(s.bytes));
    let done = format!("{} of {} done", s.complete, s.receivers.len());
    with_bar(
        percent,
        &format!("{amount}  {speed}{left}  {done}"),
        width,
        symbols,
    )
}

/// Those that are not over, the one with most before it first.
fn slowest<'a>(transfers: &[&'a TransferSnapshot]) -> Vec<&'a TransferSnapshot> {
    let mut open: Vec<&TransferSnapshot> = transfers.to_vec();
    open.retain(|t| !t.state.is_final());
    open.sort_by_key(|t| percent(t));
    open
}

/// `     kitchen  45%  12.0 MB/s  4 s`, at most `width` characters.
fn receiver_line(t: &TransferSnapshot, width: usize) -> String {
    let speed = match (t.state, t.eta_seconds) {
        (TransferState::Transferring, Some(left)) => {
            format!("{}/s  {}", bytes(t.rate), duration(left))
        }
        (TransferState::Transferring, None) => format!("{}/s", bytes(t.rate)),
        _ => phase_word(t).to_owned(),
    };
    let name = Shown(&t.peer_name);
    let through = through(t).map(|words| format!("  {words}"));
    let through = through.unwrap_or_default();
    fit(
        format!("     {name}  {}%  {speed}{through}", percent(t)),
        width,
    )
}

/// From whom a receiver gets it, if not from here.
pub(crate) fn through(t: &TransferSnapshot) -> Option<String> {
    let name = t.passing.through.as_ref();
    let name = name.filter(|_| !t.state.is_final());
    name.map(|name| format!("through {}", Shown(name)))
}

fn bar(percent: u64, width: usize, symbols: Symbols) -> String {
    let full = width * percent as usize / 100;
    let mut text: String = std::iter::repeat_n(symbols.full, full).collect();
    if full < width {
        text.push(symbols.head);
        text.extend(std::iter::repeat_n(symbols.empty, width - full - 1));
    }
    text
}

/// `     holiday/a.mp4  45% of 734 MB`, at most `width` characters.
fn file_line(row: &FileRow, width: usize) -> String {
    let percent = row.bytes_done.min(row.bytes) * 100 / row.bytes.max(1);
    let end = format!("  {percent}% of {}", bytes(row.bytes));
    let room = width.saturating_sub(end.len() + 5);
    let name = Shown(&row.path).to_string();
    let name = match name.chars().count() {
        len if len > room => {
            let tail: String = name.chars().skip(len - room.saturating_sub(1)).collect();
            format!("…{tail}")
        }
        _ => name,
    };
    fit(format!("     {name}{end}"), width)
}

fn fit(text: String, width: usize) -> String {
    match text.char_indices().nth(width) {
        Some((at, _)) => text.get(..at).unwrap_or_default().to_owned(),
        None => text,
    }
}

/// Whole percent; 100 only when everything is there.
pub(crate) fn percent(t: &TransferSnapshot) -> u64 {
    whole_percent(t.bytes_done, t.bytes, t.state)
}

/// The same for all receivers together.
pub(crate) fn session_percent(s: &SessionSnapshot) -> u64 {
    whole_percent(s.bytes_done, s.bytes, s.state)
}

fn whole_percent(done: u64, total: u64, state: TransferState) -> u64 {
    match total {
        0 => u64::from(state == TransferState::Completed) * 100,
        total => (u128::from(done.min(total)) * 100 / u128::from(total)) as u64,
    }
}

/// What a transfer does while no bytes move, with the command that continues it if nothing does.
pub(crate) fn phase(t: &TransferSnapshot) -> String {
    if !t.dormant {
        return phase_word(t).to_owned();
    }
    let word = match t.state == TransferState::Paused {
        true => "paused",
        false => "interrupted",
    };
    format!("{word}; `peerconnect resume {}` continues it", t.id.short())
}

/// What a transfer does while no bytes move.
pub(crate) fn phase_word(t: &TransferSnapshot) -> &'static str {
    if t.accepted && t.state == TransferState::AwaitingAnswer {
        return "continuing";
    }
    state_phase(t.state)
}

fn state_phase(state: TransferState) -> &'static str {
    match state {
        TransferState::Preparing => "looking through the files",
        TransferState::Connecting => "connecting",
        TransferState::AwaitingAnswer => "waiting for an answer",
        TransferState::Transferring => "running",
        TransferState::Paused => "paused",
        TransferState::Interrupted => "connection lost, trying again",
        TransferState::Completed => "done",
        TransferState::Rejected => "declined",
        TransferState::Cancelled => "cancelled",
        TransferState::Failed => "failed",
    }
}

fn limit_word(limit: Limit) -> &'static str {
    match limit {
        Limit::Unknown => "",
        Limit::Network => " (network)",
        Limit::Disk => " (disk here)",
        Limit::PeerDisk => " (disk there)",
        Limit::Setting => " (speed limit)",
    }
}

/// Plain lines: when to write one, and which.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    last: Option<(Instant, u64)>,
}

impl Plain {
    /// At least so often, while it runs.
    const PAUSE: Duration = Duration::from_secs(10);
    /// And at each step of so many percent, but not several a second.
    const STEP: u64 = 10;
    const LEAST: Duration = Duration::from_secs(1);

    /// The line that is due now, if any.
    pub(crate) fn due(&mut self, t: &TransferSnapshot, now: Instant) -> Option<String> {
        self.is_due(t.state, percent(t), now).then(|| plain_line(t))
    }

    /// The same for all receivers together.
    pub(crate) fn due_for(&mut self, s: &SessionSnapshot, now: Instant) -> Option<String> {
        self.is_due(s.state, session_percent(s), now)
            .then(|| plain_session_line(s))
    }

    fn is_due(&mut self, state: TransferState, percent: u64, now: Instant) -> bool {
        if state != TransferState::Transferring {
            return false;
        }
        if let Some((then, before)) = self.last {
            let waited = now.saturating_duration_since(then);
            let step = percent / Self::STEP > before / Self::STEP;
            if waited < Self::LEAST || (waited < Self::PAUSE && !step) {
                return false;
            }
        }
        self.last = Some((now, percent));
        true
    }
}

fn plain_session_line(s: &SessionSnapshot) -> String {
    let mut line = format!(
        "{}% {} of {}, {} of {} receivers have everything, {}/s",
        session_percent(s),
        bytes(s.bytes_done),
        bytes(s.bytes),
        s.complete,
        s.receivers.len(),
        bytes(s.rate)
    );
    if let Some(left) = s.eta_seconds {
        line.push_str(&format!(", {} left", duration(left)));
    }
    line
}

fn plain_line(t: &TransferSnapshot) -> String {
    let mut line = format!(
        "{}% {} of {}, {} of {} files, {}/s",
        percent(t),
        bytes(t.bytes_done),
        bytes(t.bytes),
        t.files_done,
        t.files,
        bytes(t.rate)
    );
    if let Some(left) = t.eta_seconds {
        line.push_str(&format!(", {} left", duration(left)));
    }
    if let Some(path) = &t.path {
        line.push_str(&format!(", {}", path_words(path.kind)));
    }
    line
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
