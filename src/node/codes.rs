//! One-time codes: those that wait here to be typed elsewhere, and what was agreed on by codes that
//! were typed here.
//!
//! A code is good for one use and one guess: a wrong one changes its words. Whoever has typed the
//! right one gets the transfer that it was made for, and takes it without a question.

mod agreed;
mod api;
mod guessers;
mod naming;
mod redeem;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use self::agreed::Agreed;
pub use self::api::{CodeCommand, CodeReach, CodeSnapshot, CodeState, Taking};
use self::guessers::Guessers;
pub(super) use self::naming::name;
pub(super) use self::redeem::{Agreements, Redeem};
use super::commands::random;
use crate::fault::{CodeTrouble, Fault};
use crate::net::code_link::QuicCode;
use crate::peer::PeerId;
use crate::protocol::codes::{CODE_LIFETIME, OneTimeCode};
use crate::protocol::message::TransferId;
use crate::transfer::bookkeeper::unix_now;

/// Codes that may wait at once.
pub const CODES_MAX: usize = 8;
/// Wrong guesses after which a code is given up, new words or not.
pub const GUESSES_MAX: u32 = 5;
/// Codes whose end is remembered for faces.
const ENDED_MAX: usize = 16;
/// Names of what a code is for that faces are told.
const NAMES_MAX: usize = 16;
/// Transfers that were agreed on and have not been offered yet.
const AGREED_MAX: usize = 16;
/// How long they may take: the sender may have to list a million files first.
pub const AGREED_FOR: Duration = Duration::from_secs(30 * 60);
/// Peers of which it is remembered that they knew a code.
const PROVEN_MAX: usize = 256;
/// News of tasks that may wait for the node.
const NEWS_MAX: usize = 64;

/// A code that waits.
#[derive(Debug)]
struct Waiting {
    id: TransferId,
    paths: Vec<PathBuf>,
    code: Option<OneTimeCode>,
    reach: CodeReach,
    expires: Instant,
    /// The same for people.
    until: u64,
    wrong: u32,
}

impl Waiting {
    /// Also by the clock of people: the other one stands still while a computer sleeps.
    fn is_late(&self) -> bool {
        self.expires <= Instant::now() || self.until <= unix_now()
    }

    fn snapshot(&self, state: CodeState) -> CodeSnapshot {
        let code = self.code.as_ref().filter(|_| state == CodeState::Waiting);
        CodeSnapshot {
            id: self.id,
            code: code.map(ToString::to_string),
            expires: self.until,
            wrong: self.wrong,
            reach: self.reach,
            names: self
                .paths
                .iter()
                .take(NAMES_MAX)
                .map(|path| top_name(path))
                .collect(),
            state,
        }
    }
}

/// How people call what lies there.
fn top_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// What tasks tell the node.
#[derive(Debug)]
pub(super) enum CodeNews {
    /// A number was found for a code, or not.
    Numbered {
        id: TransferId,
        result: Result<(u16, CodeReach), Fault>,
    },
    /// Somebody has guessed `code`. To be decided whether that counts.
    Guessed {
        from: PeerId,
        id: TransferId,
        code: OneTimeCode,
        right: bool,
        decided: oneshot::Sender<bool>,
    },
    /// A guess was answered; with the code that was right.
    Heard {
        from: PeerId,
        admitted: Option<TransferId>,
    },
    /// Both sides know a code that was typed here.
    Agreed {
        peer: PeerId,
        transfer: TransferId,
        taking: Taking,
        /// Whether it will be taken.
        noted: oneshot::Sender<bool>,
    },
    /// Nobody waits any more for what was agreed on.
    Withdrawn(TransferId),
    /// It is time to look which codes are too old.
    Late,
}

/// What became of a guess.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Guessed {
    /// It was right: the code is used, and its number free.
    Right { number: u16 },
    /// It was wrong. If that was once too often, the number is free.
    Wrong { freed: Option<u16> },
    /// The code is another one by now, or gone.
    Stale,
}

/// All codes of a node.
#[derive(Debug)]
pub(super) struct CodeBook {
    waiting: Vec<Waiting>,
    ended: VecDeque<CodeSnapshot>,
    /// What was used and is about to be sent.
    used: HashMap<TransferId, Vec<PathBuf>>,
    pub(super) guessers: Guessers,
    agreed: HashMap<TransferId, Agreed>,
    /// Who has shown that he knows a code, in this run; the last ones.
    proven: VecDeque<PeerId>,
    news: (mpsc::Sender<CodeNews>, mpsc::Receiver<CodeNews>),
}

impl Default for CodeBook {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            ended: VecDeque::new(),
            used: HashMap::new(),
            guessers: Guessers::default(),
            agreed: HashMap::new(),
            proven: VecDeque::new(),
            news: mpsc::channel(NEWS_MAX),
        }
    }
}

impl CodeBook {
    /// What is told next. Cancel-safe.
    pub(super) async fn news(&mut self) -> CodeNews {
        let first = self.waiting.iter().map(|waiting| waiting.expires).min();
        let late = async {
            match first {
                Some(first) => sleep_until(first).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(news) = self.news.1.recv() => news,
            () = late => CodeNews::Late,
        }
    }

    /// Where tasks tell it.
    pub(super) fn reporter(&self) -> mpsc::Sender<CodeNews> {
        self.news.0.clone()
    }

    /// Whether somebody may still use a code, or what was used has not begun yet.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.used.is_empty()
    }

    /// As faces see them, oldest first.
    pub(super) fn snapshots(&self) -> Vec<CodeSnapshot> {
        let waiting = self.waiting.iter();
        let waiting = waiting.map(|waiting| waiting.snapshot(CodeState::Waiting));
        self.ended.iter().cloned().chain(waiting).collect()
    }

    /// A code for `paths` is wanted; it has no number yet.
    pub(super) fn begin(&mut self, id: TransferId, paths: Vec<PathBuf>) -> Result<(), Fault> {
        if self.waiting.len() >= CODES_MAX {
            return Err(Fault::Invalid {
                why: "too many codes wait already".into(),
            });
        }
        self.waiting.push(Waiting {
            id,
            paths,
            code: None,
            reach: CodeReach::Nearby,
            expires: Instant::now() + CODE_LIFETIME,
            until: unix_now() + CODE_LIFETIME.as_secs(),
            wrong: 0,
        });
        Ok(())
    }

    /// The numbers of those that can be used: a relay gives them to us again.
    pub(super) fn numbers(&self) -> HashSet<u16> {
        let codes = self.waiting.iter().filter_map(|w| w.code.as_ref());
        codes.map(OneTimeCode::number).collect()
    }

    /// Whether it can be used, or will be.
    pub(super) fn waits(&self, id: TransferId) -> bool {
        self.waiting.iter().any(|waiting| waiting.id == id)
    }

    fn find(&mut self, id: TransferId) -> Option<&mut Waiting> {
        self.waiting.iter_mut().find(|waiting| waiting.id == id)
    }

    /// A code has its number, and with it its words. `false` if it is not wanted any more.
    pub(super) fn numbered(
        &mut self,
        id: TransferId,
        number: u16,
        reach: CodeReach,
    ) -> Result<bool, Fault> {
        let words = random()?;
        let others = self.numbers();
        if others.contains(&number) {
            return Err(Fault::Code {
                trouble: CodeTrouble::Busy,
            });
        }
        let waiting = self.find(id);
        let is_wanted = waiting.is_some();
        if let Some(waiting) = waiting {
            waiting.code = Some(OneTimeCode::new(number, words));
            waiting.reach = reach;
        }
        Ok(is_wanted)
    }

    /// Nobody can use it any more, for this reason. Its number, which is free now.
    pub(super) fn end(&mut self, id: TransferId, state: CodeState) -> Option<u16> {
        let at = self.waiting.iter().position(|waiting| waiting.id == id)?;
        let waiting = self.waiting.remove(at);
        self.ended.push_back(waiting.snapshot(state.clone()));
        while self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
        if state == CodeState::Used {
            self.used.insert(id, waiting.paths);
        }
        Some(waiting.code?.number())
    }

    /// Ends those that are too old. Their numbers.
    pub(super) fn end_late(&mut self) -> Vec<u16> {
        let late = self.waiting.iter().filter(|waiting| waiting.is_late());
        let late: Vec<TransferId> = late.map(|waiting| waiting.id).collect();
        let fault = Fault::Code {
            trouble: CodeTrouble::Late,
        };
        let ended = late
            .into_iter()
            .filter_map(|id| self.end(id, CodeState::Ended(fault.clone())));
        ended.collect()
    }

    /// Whether this is a code of ours that waits.
    pub(super) fn has_made(&self, code: &OneTimeCode) -> bool {
        let mut codes = self.waiting.iter().filter_map(|w| w.code.as_ref());
        codes.any(|ours| ours == code)
    }

    /// The code with this number, if one waits.
    pub(super) fn with_number(&self, number: u16) -> Option<(TransferId, OneTimeCode)> {
        let fits = |waiting: &&Waiting| waiting.code.as_ref().is_some_and(|c| c.number() == number);
        let waiting = self.waiting.iter().find(fits)?;
        if waiting.is_late() {
            return None;
        }
        Some((waiting.id, waiting.code.clone()?))
    }

    /// Somebody has guessed `code`, which was the one of `id` when he began.
    pub(super) fn guessed(&mut self, id: TransferId, code: &OneTimeCode, right: bool) -> Guessed {
        let number = code.number();
        let Some(waiting) = self.find(id).filter(|w| w.code.as_ref() == Some(code)) else {
            return Guessed::Stale;
        };
        if right {
            self.end(id, CodeState::Used);
            return Guessed::Right { number };
        }
        waiting.wrong += 1;
        let next = match random() {
            Ok(words) if waiting.wrong < GUESSES_MAX => Some(OneTimeCode::new(number, words)),
            Ok(_) | Err(_) => None,
        };
        if next.is_some() {
            waiting.code = next;
            return Guessed::Wrong { freed: None };
        }
        let fault = Fault::Code {
            trouble: CodeTrouble::Guessed,
        };
        let freed = self.end(id, CodeState::Ended(fault));
        Guessed::Wrong { freed }
    }

    /// What was used and has not begun is not to be sent any more. Whether there was such.
    pub(super) fn take_back(&mut self, id: TransferId) -> bool {
        let was_used = self.used.remove(&id).is_some();
        if was_used && let Some(ended) = self.ended.iter_mut().find(|ended| ended.id == id) {
            ended.state = CodeState::Ended(Fault::Cancelled);
        }
        was_used
    }

    /// What a used code was for, once.
    pub(super) fn take_used(&mut self, id: TransferId) -> Option<Vec<PathBuf>> {
        self.used.remove(&id)
    }

    /// This peer has shown that it is the one that the person means.
    pub(super) fn proved(&mut self, peer: PeerId) {
        self.proven.retain(|known| *known != peer);
        self.proven.push_back(peer);
        if self.proven.len() > PROVEN_MAX {
            self.proven.pop_front();
        }
    }

    /// Whether nobody need compare words with this peer any more.
    pub(super) fn has_proved(&self, peer: PeerId) -> bool {
        self.proven.contains(&peer)
    }
}

/// Finds out what the other side of `link` knows of `code`, and answers it. Returns whether it may
/// have the transfer.
pub(super) async fn hear(
    link: QuicCode,
    (id, code): (TransferId, OneTimeCode),
    (us, from): (PeerId, PeerId),
    news: &mpsc::Sender<CodeNews>,
) -> bool {
    let guess = match link.hear(&code, us).await {
        Ok(guess) => guess,
        Err(error) => {
            tracing::info!(%error, "a code was not tried to its end");
            return false;
        }
    };
    let (decided, decision) = oneshot::channel();
    let told = CodeNews::Guessed {
        from,
        id,
        code,
        right: guess.is_right(),
        decided,
    };
    let _ = news.send(told).await;
    if decision.await != Ok(true) {
        guess.deny().await;
        return false;
    }
    // What was shown cannot be taken back: the transfer looks for its receiver by itself.
    if let Err(error) = guess.admit(id).await {
        tracing::info!(%error, "the receiver of a code was lost");
    }
    true
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
