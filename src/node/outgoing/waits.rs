//! How long a transfer waits before it is tried again to reach the peer.

use super::*;

/// Waits between attempts to reach the peer again.
pub(super) const RETRY_MIN: Duration = Duration::from_millis(250);
/// See [`RETRY_MIN`].
const RETRY_MAX: Duration = Duration::from_secs(15);
/// A link that held for so long was a good one. After others the waits go on growing: what ends
/// them at once may do so for ever.
pub(super) const HELD: Duration = Duration::from_secs(1);

impl OutgoingTask {
    /// Waits before the next attempt; a connection that the peer makes ends the wait, and so does
    /// its appearance in the network. Returns how long to wait the next time.
    pub(super) async fn pause(&mut self, wait: Duration) -> Result<Duration, Over> {
        let next = (wait * 2).min(RETRY_MAX);
        let until = Instant::now() + wait;
        let mut ours = self.connector.own_addrs();
        let to = self.to.clone();
        let appears = to.appears();
        tokio::pin!(appears);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(next),
                () = &mut appears => return Ok(next),
                // This computer is in another network: there it may work.
                Ok(()) = ours.changed() => return Ok(RETRY_MIN),
                Ok(()) = self.connected.changed() => {
                    // Over the same one it would only be lost in the same way.
                    let pooled = self.to.pooled(&self.connector);
                    if pooled.is_some_and(|c| Some(c.number()) != self.last) {
                        return Ok(next);
                    }
                }
                order = self.orders.recv() => {
                    let resume = matches!(order, Some(Order::Resume(_)));
                    self.offline(order).await?;
                    if resume {
                        return Ok(next);
                    }
                }
            }
        }
    }
}
