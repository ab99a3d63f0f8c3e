//! At a receiver that passes on: gives others what it has, as soon as it has it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::net::link::{LinkError, Offence};
use crate::net::pull_link::QuicPulled;
use crate::protocol::message::Stamp;
use crate::protocol::sessions::{PULLS_MAX, Pull};
use crate::transfer::limiter::Limiter;
use crate::transfer::shelf::{Found, Look, Shelf};

/// Most bytes that are given at once, so that a speed limit is even.
const PIECE_LEN: usize = 64 * 1024;
/// Where the limit is low, so many pieces go into a second: each of several is to get a little all
/// the time, and not much now and then.
const PIECES_A_SECOND: u64 = 16;
/// The least that is worth a piece.
const PIECE_MIN: u64 = 1024;
/// A stream on which nothing is asked for, and nothing could be given, is closed after so long:
/// both sides begin anew when there is something.
const IDLE_MAX: Duration = Duration::from_secs(10 * 60);

/// Gives what is asked for on one stream, until nothing more is wanted.
pub async fn serve(link: QuicPulled, shelf: Arc<Shelf>, limiter: Arc<Limiter>) {
    let mut serving = Serving {
        link,
        changes: shelf.changes(),
        shelf,
        limiter,
        open: BTreeMap::new(),
    };
    if let Err(error) = serving.work().await {
        tracing::debug!(%error, "a pull stream ended");
    }
}

struct Serving {
    link: QuicPulled,
    shelf: Arc<Shelf>,
    changes: watch::Receiver<()>,
    limiter: Arc<Limiter>,
    /// What is wanted and was not given yet, by number.
    open: BTreeMap<u32, (Stamp, u32)>,
}

impl Serving {
    async fn work(&mut self) -> Result<(), LinkError> {
        loop {
            self.changes.mark_unchanged();
            self.give_all().await?;
            tokio::select! {
                biased;
                pull = self.link.recv() => match pull? {
                    Some(pull) => self.on_pull(pull)?,
                    None => return Ok(()),
                },
                // The shelf lives as long as `self`.
                _ = self.changes.changed() => {}
                () = tokio::time::sleep(IDLE_MAX) => return Ok(()),
            }
        }
    }

    fn on_pull(&mut self, pull: Pull) -> Result<(), LinkError> {
        match pull {
            Pull::Want { id, stamp, group } => {
                if self.open.len() >= PULLS_MAX {
                    return Err(self.link.offend(Offence::UnexpectedMessage));
                }
                self.open.insert(id, (stamp, group));
            }
            Pull::Forget { id } => {
                self.open.remove(&id);
            }
        }
        Ok(())
    }

    /// Gives everything that is wanted and there, oldest first.
    async fn give_all(&mut self) -> Result<(), LinkError> {
        let ids: Vec<u32> = self.open.keys().copied().collect();
        for id in ids {
            let Some(&(stamp, group)) = self.open.get(&id) else {
                continue;
            };
            match self.shelf.look(stamp, group) {
                Look::Later => continue,
                Look::Gone => self.link.gone(id).await?,
                Look::Here(found) => self.give(id, found).await?,
            }
            self.open.remove(&id);
        }
        Ok(())
    }

    async fn give(&mut self, id: u32, found: Found) -> Result<(), LinkError> {
        let read = tokio::task::spawn_blocking(move || found.read()).await;
        let content = match read {
            Ok(Ok(Some(content))) => content,
            Ok(Ok(None)) | Err(_) => return self.link.gone(id).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a group cannot be read to be passed on");
                return self.link.gone(id).await;
            }
        };
        self.link.begin(id, content.len() as u32).await?;
        for piece in content.chunks(piece_len(self.limiter.rate())) {
            self.limiter.take(piece.len()).await;
            self.link.give(piece).await?;
        }
        Ok(())
    }
}

/// How many bytes are given at once under this limit.
fn piece_len(rate: Option<u64>) -> usize {
    let most = PIECE_LEN as u64;
    let piece = rate.map_or(most, |rate| rate / PIECES_A_SECOND);
    piece.clamp(PIECE_MIN, most) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_limit_is_given_in_small_pieces() {
        let pieces = [None, Some(100_000_000), Some(32_000), Some(0)].map(piece_len);
        assert_eq!(pieces, [PIECE_LEN, PIECE_LEN, 2000, 1024]);
    }
}
