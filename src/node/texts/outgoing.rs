//! The task of a text that is sent from here: connects, offers it, sends it, waits until the other
//! side has it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::{TextNews, TextOrder, TextReporter, TextState};
use crate::fault::Fault;
use crate::net::connection::PeerConnection;
use crate::net::connector::Connector;
use crate::net::link::LinkError;
use crate::node::dial::FIRST_CONTACT;
use crate::node::legacy::Reached;
use crate::node::outgoing::{Contact, Contacts, To, Way};
use crate::protocol::message::{Code, DeclineReason};
use crate::protocol::texts::{TextAnswer, TextHead, TextId};

/// A connection that broke is made again for so long, before the text counts as not delivered.
const PATIENCE: Duration = Duration::from_secs(30);
/// Wait before that.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Everything that the task needs.
pub(in crate::node) struct OutgoingTextTask {
    pub(in crate::node) id: TextId,
    pub(in crate::node) text: Arc<str>,
    pub(in crate::node) to: To,
    pub(in crate::node) connector: Connector,
    pub(in crate::node) reporter: TextReporter,
    pub(in crate::node) contacts: Contacts,
}

/// Why a text is not there yet.
enum Undelivered {
    /// It will not be.
    For(Fault),
    /// The connection to a peer of this name broke: it may work again.
    Lost(String),
}

impl OutgoingTextTask {
    /// Works until the text is there, or will not be, or `orders` close because it is forgotten.
    pub(in crate::node) async fn run(mut self, mut orders: mpsc::Receiver<TextOrder>) {
        let news = tokio::select! {
            news = self.send() => news,
            // Dropping what was begun tells the other side.
            _ = orders.recv() => TextNews::Failed(Fault::Cancelled),
        };
        self.reporter.tell(news).await;
    }

    async fn send(&mut self) -> TextNews {
        let mut broken: Option<Instant> = None;
        loop {
            let lost = match self.attempt(broken.is_none()).await {
                Ok(state) => return TextNews::State(state),
                Err(Undelivered::For(fault)) => return TextNews::Failed(fault),
                Err(Undelivered::Lost(peer)) => peer,
            };
            let since = *broken.get_or_insert_with(Instant::now);
            if since.elapsed() >= PATIENCE {
                return TextNews::Failed(Fault::TextLost { peer: lost });
            }
            sleep(RETRY_AFTER).await;
        }
    }

    async fn attempt(&mut self, first: bool) -> Result<TextState, Undelivered> {
        let way = match self.to.connect(&self.connector, FIRST_CONTACT).await {
            Ok(way) => way,
            Err(fault) if first => return Err(Undelivered::For(fault)),
            Err(fault @ (Fault::IdentityChanged { .. } | Fault::Refused { .. })) => {
                return Err(Undelivered::For(fault));
            }
            Err(_) => return Err(Undelivered::Lost(self.to.shown())),
        };
        match way {
            Way::Peer(connection) => self.over_connection(connection).await,
            Way::Original(reached) => self.over_original(*reached).await,
        }
    }

    async fn over_original(&mut self, reached: Reached) -> Result<TextState, Undelivered> {
        let contact = Contact::Original {
            transfer: self.id,
            peer: reached.peer,
            name: reached.name.clone(),
        };
        let _ = self.contacts.send(contact).await;
        let sent = reached.send_text(&self.text).await;
        // What was written may have been read: it is not sent twice.
        sent.map_err(Undelivered::For)?;
        Ok(TextState::HandedOver)
    }

    async fn over_connection(
        &mut self,
        connection: PeerConnection,
    ) -> Result<TextState, Undelivered> {
        let contact = self.to.met(self.id, &connection);
        let _ = self.contacts.send(contact).await;
        let peer = connection.name().to_owned();
        if !connection.understands_texts() {
            return Err(Undelivered::For(Fault::NoTexts { peer }));
        }
        match self.deliver(&connection).await {
            Ok(None) => Ok(TextState::Delivered),
            Ok(Some(reason)) => Err(Undelivered::For(Fault::Declined { peer, reason })),
            Err(error) => Err(why(error, peer)),
        }
    }

    /// Why it was declined; `None` if it is there.
    async fn deliver(
        &self,
        connection: &PeerConnection,
    ) -> Result<Option<DeclineReason>, LinkError> {
        let head = TextHead {
            text: self.id,
            len: self.text.len() as u32,
        };
        let mut link = connection.offer_text(head).await?;
        loop {
            let declined = match link.answer().await? {
                TextAnswer::Asked => {
                    let news = TextNews::State(TextState::Asking);
                    self.reporter.tell(news).await;
                    continue;
                }
                TextAnswer::Accepted => {
                    let news = TextNews::State(TextState::Moving);
                    self.reporter.tell(news).await;
                    link.send(&self.text).await?;
                    continue;
                }
                TextAnswer::Delivered => None,
                TextAnswer::Declined(reason) => Some(reason),
            };
            link.close().await;
            return Ok(declined);
        }
    }
}

fn why(error: LinkError, peer: String) -> Undelivered {
    tracing::info!(%error, "a text was not delivered");
    match error {
        LinkError::Closed(Code::Refused) => Undelivered::For(Fault::Refused { peer }),
        LinkError::Closed(Code::Busy) => Undelivered::For(Fault::Declined {
            peer,
            reason: DeclineReason::Busy,
        }),
        LinkError::Offence(offence) => Undelivered::For(Fault::Misbehaved {
            peer,
            offence: offence.to_string(),
        }),
        LinkError::Lost(_) | LinkError::Closed(_) => Undelivered::Lost(peer),
    }
}
