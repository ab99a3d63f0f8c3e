//! The task of a text that somebody sends: asks, takes, keeps, confirms.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::{TextNews, TextOrder, TextReporter, TextState};
use crate::net::text_link::InboundText;
use crate::protocol::message::DeclineReason;

/// Whether the person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) enum Asking {
    /// No: it is shown at once.
    No,
    /// Yes, for so long.
    For(Duration),
}

/// Everything that the task needs.
pub(in crate::node) struct IncomingTextTask<L> {
    pub(in crate::node) link: L,
    pub(in crate::node) asking: Asking,
    /// What the person wants. Closed when the text is forgotten, or the node ends.
    pub(in crate::node) orders: mpsc::Receiver<TextOrder>,
    pub(in crate::node) reporter: TextReporter,
}

/// What comes of asking.
enum Asked {
    /// It may come.
    Take,
    /// It may not.
    Decline(DeclineReason),
    /// The sender has given it up.
    Gone,
    /// It is forgotten here, or the node ends.
    Forgotten,
}

impl<L: InboundText> IncomingTextTask<L> {
    /// Works until the text is here, or will not come.
    pub(in crate::node) async fn run(mut self) {
        let asked = match self.asking {
            Asking::No => Asked::Take,
            Asking::For(time) => self.ask(time).await,
        };
        match asked {
            Asked::Take => self.take().await,
            Asked::Decline(reason) => {
                self.reporter.tell(TextNews::Withdrawn).await;
                self.link.decline(reason).await;
            }
            Asked::Gone => self.reporter.tell(TextNews::Withdrawn).await,
            Asked::Forgotten => {}
        }
    }

    async fn ask(&mut self, time: Duration) -> Asked {
        if let Err(error) = self.link.asked().await {
            tracing::debug!(%error, "the sender of a text is gone");
            return Asked::Gone;
        }
        tokio::select! {
            order = self.orders.recv() => match order {
                Some(TextOrder::Take) => Asked::Take,
                Some(TextOrder::Refuse) => Asked::Decline(DeclineReason::Person),
                None => Asked::Forgotten,
            },
            error = self.link.gone() => {
                tracing::debug!(%error, "a text was taken back");
                Asked::Gone
            }
            () = sleep(time) => Asked::Decline(DeclineReason::NoAnswer),
        }
    }

    async fn take(mut self) {
        let taken = tokio::select! {
            taken = self.link.take() => taken,
            () = given_up(&mut self.orders) => return,
        };
        let text = match taken {
            Ok(text) => text,
            Err(error) => {
                tracing::info!(%error, "a text did not come");
                return self.reporter.tell(TextNews::Withdrawn).await;
            }
        };
        let (kept, is_kept) = oneshot::channel();
        self.reporter.tell(TextNews::Came { text, kept }).await;
        if is_kept.await.is_ok() {
            self.link.delivered().await;
            let news = TextNews::State(TextState::Delivered);
            self.reporter.tell(news).await;
        }
    }
}

/// Waits until the text is forgotten, or the node ends.
async fn given_up(orders: &mut mpsc::Receiver<TextOrder>) {
    while let Some(TextOrder::Take) = orders.recv().await {}
}
