//! What a stranger can do with a yes.

use crate::identity::Identity;
use crate::node::Node;
use crate::node::api::{Command, NodeHandle, Overview, Reply};
use crate::protocol::frame::{decode, encode};
use crate::protocol::message::Opening;
use crate::protocol::texts::{ALPNS, TextAnswer, TextHead};

use super::*;

/// A stranger who is connected to a node where a person is asked.
struct Stranger {
    handle: NodeHandle,
    quic: quinn::Connection,
    _alive: (Node, quinn::Endpoint, tempfile::TempDir),
}

/// A text that the stranger offers.
struct Offer {
    send: quinn::SendStream,
    recv: quinn::RecvStream,
}

impl Stranger {
    async fn new(window: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (node, at) = node(dir.path());
        let identity = Identity::generate().unwrap();
        let (endpoint, quic) = program(&identity, at, &ALPNS, window).await;
        Self {
            handle: node.handle(),
            quic,
            _alive: (node, endpoint, dir),
        }
    }

    async fn offers(&self, text: &str) -> Offer {
        let (mut send, recv) = self.quic.open_bi().await.unwrap();
        let (text, len) = (id(7), text.len() as u32);
        let opening = encode(&Opening::Text(TextHead { text, len })).unwrap();
        send.write_all(&opening).await.unwrap();
        Offer { send, recv }
    }

    async fn call(&self, command: TextCommand) -> Result<Reply, Fault> {
        self.handle.call(Command::Text(command)).await
    }

    async fn is_taken(&self) {
        let (text, take) = (id(7), true);
        self.call(TextCommand::Answer { text, take }).await.unwrap();
    }

    async fn until(&self, seen: impl Fn(&Overview) -> bool) {
        let mut overview = self.handle.overview();
        overview.wait_for(|o| seen(o)).await.unwrap();
    }
}

impl Offer {
    async fn answer(&mut self) -> TextAnswer {
        let mut bytes = Vec::new();
        loop {
            if let Some((answer, _)) = decode(&bytes).unwrap() {
                return answer;
            }
            let mut byte = [0; 1];
            self.recv.read_exact(&mut byte).await.unwrap();
            bytes.extend(byte);
        }
    }

    /// Gives it up, as when the connection breaks.
    fn breaks(mut self) {
        self.send.reset(0_u32.into()).unwrap();
    }

    async fn sends(&mut self, text: &str) {
        self.send.write_all(text.as_bytes()).await.unwrap();
        self.send.finish().unwrap();
    }
}

#[tokio::test]
async fn a_yes_is_for_one_text_and_that_once() {
    let stranger = Stranger::new(1000).await;
    let mut offer = stranger.offers("hello").await;
    assert_eq!(offer.answer().await, TextAnswer::Asked);
    stranger.is_taken().await;
    assert_eq!(offer.answer().await, TextAnswer::Accepted);
    // Begun anew it is the same text.
    offer.breaks();
    stranger.until(|o| o.texts.is_empty()).await;
    let mut offer = stranger.offers("hello").await;
    assert_eq!(offer.answer().await, TextAnswer::Accepted);
    offer.breaks();
    stranger.until(|o| o.texts.is_empty()).await;
    let mut offer = stranger.offers("a text of another length").await;
    assert_eq!(offer.answer().await, TextAnswer::Asked);
    offer.breaks();
    stranger.until(|o| o.texts.is_empty()).await;
    let mut offer = stranger.offers("hello").await;
    assert_eq!(offer.answer().await, TextAnswer::Accepted);
    offer.sends("hello").await;
    assert_eq!(offer.answer().await, TextAnswer::Delivered);
    stranger.call(TextCommand::Drop(id(7))).await.unwrap();
    let mut offer = stranger.offers("spam!").await;
    assert_eq!(offer.answer().await, TextAnswer::Asked);
}

#[tokio::test]
async fn a_text_that_is_here_does_not_come_again_though_its_sender_does_not_listen() {
    // The stranger reads when it likes.
    let stranger = Stranger::new(2).await;
    let mut offer = stranger.offers("hello").await;
    assert_eq!(offer.answer().await, TextAnswer::Asked);
    stranger.is_taken().await;
    assert_eq!(offer.answer().await, TextAnswer::Accepted);
    offer.sends("hello").await;
    while stranger.call(TextCommand::Read(id(7))).await.is_err() {
        tokio::task::yield_now().await;
    }
    let state = |state| move |o: &Overview| o.text(id(7)).is_some_and(|t| t.state == state);
    stranger.until(state(TextState::Moving)).await;
    let mut again = stranger.offers("spam!").await;
    assert_eq!(again.answer().await, TextAnswer::Delivered);
    let read = stranger.call(TextCommand::Read(id(7))).await;
    assert_eq!(read, Ok(Reply::Text("hello".into())));
    assert_eq!(offer.answer().await, TextAnswer::Delivered);
    stranger.until(state(TextState::Delivered)).await;
}
