//! Texts between peers with keys: offered, wanted, delivered; and what hostile peers make of it.

use super::*;
use crate::net::text_link::{InboundText, QuicText};
use crate::protocol::frame::{FrameError, encode};
use crate::protocol::texts::*;

impl Node {
    async fn text(&mut self) -> QuicText {
        loop {
            match self.arrival().await {
                Arrival::Text { link, .. } => return link,
                Arrival::Connected(_) | Arrival::Addresses { .. } => {}
                other @ (Arrival::Disconnected(_) | Arrival::Transfer { .. }) => {
                    panic!("{other:?}")
                }
            }
        }
    }
}

fn text_head(len: usize) -> TextHead {
    TextHead {
        text: TransferId([9; 16]),
        len: len as u32,
    }
}

#[tokio::test]
async fn a_text_comes_when_it_is_wanted_and_its_sender_is_told() {
    let (a, mut b) = Node::two().await;
    let connection = a.connect(&b).await;
    assert!(connection.understands_texts());
    for text in ["é\n\u{202e}x".to_owned(), "x".repeat(TEXT_LEN_MAX)] {
        let mut out = connection.offer_text(text_head(text.len())).await.unwrap();
        let mut inbound = b.text().await;
        assert_eq!(inbound.head(), text_head(text.len()));
        inbound.asked().await.unwrap();
        assert_eq!(out.answer().await, Ok(TextAnswer::Asked));
        let sender = async {
            assert_eq!(out.answer().await, Ok(TextAnswer::Accepted));
            out.send(&text).await.unwrap();
        };
        let (came, ()) = tokio::join!(inbound.take(), sender);
        assert!(came.unwrap() == text);
        let (answer, ()) = tokio::join!(out.answer(), inbound.delivered());
        assert_eq!(answer, Ok(TextAnswer::Delivered));
        out.close().await;
    }
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn a_text_can_be_declined_and_taken_back() {
    let (a, mut b) = Node::two().await;
    let connection = a.connect(&b).await;
    let mut out = connection.offer_text(text_head(1)).await.unwrap();
    let declined = b.text().await.decline(DeclineReason::Person);
    let (answer, ()) = tokio::join!(out.answer(), declined);
    assert_eq!(answer, Ok(TextAnswer::Declined(DeclineReason::Person)));
    out.close().await;
    let out = connection.offer_text(text_head(1)).await.unwrap();
    let mut inbound = b.text().await;
    inbound.asked().await.unwrap();
    drop(out);
    assert!(matches!(inbound.gone().await, LinkError::Closed(_)));
    assert!(!connection.is_closed(), "that is no offence");
}

/// An attacker who is connected, and what is known of him.
async fn attacker(node: &mut Node) -> (quinn::Endpoint, quinn::Connection, PeerConnection) {
    let identity = Identity::generate().unwrap();
    let endpoint = raw_endpoint();
    let quic = raw_connection(&endpoint, &identity, node).await;
    raw_greeting(&quic, &identity).await;
    let seen = node.connected().await;
    (endpoint, quic, seen)
}

async fn say(quic: &quinn::Connection, head: TextHead) -> (quinn::SendStream, quinn::RecvStream) {
    let (mut send, recv) = quic.open_bi().await.unwrap();
    let opening = encode(&Opening::Text(head)).unwrap();
    send.write_all(&opening).await.unwrap();
    (send, recv)
}

#[tokio::test]
async fn lengths_that_are_not_allowed_are_offences_before_anybody_hears_of_them() {
    for len in [0, TEXT_LEN_MAX + 1, u32::MAX as usize] {
        let mut b = Node::new("b").await;
        let (_endpoint, quic, seen) = attacker(&mut b).await;
        let _stream = say(&quic, text_head(len)).await;
        assert_eq!(
            seen.closed().await,
            LinkError::Offence(Offence::TextLength),
            "{len}"
        );
    }
}

#[tokio::test]
async fn what_is_no_text_of_the_announced_length_is_an_offence() {
    let truncated = Offence::Frame(FrameError::Truncated);
    for (bytes, offence) in [
        (&b"abcd"[..], truncated),
        (b"", truncated),
        (b"abcdef", Offence::UnexpectedMessage),
        (b"ab\xffde", Offence::NotText),
        (b"abcd\xc3", Offence::NotText),
    ] {
        let mut b = Node::new("b").await;
        let (_endpoint, quic, seen) = attacker(&mut b).await;
        let (mut send, _recv) = say(&quic, text_head(5)).await;
        let mut inbound = b.text().await;
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        assert_eq!(inbound.take().await, Err(LinkError::Offence(offence)));
        assert_eq!(seen.closed().await, LinkError::Offence(offence));
    }
}

#[tokio::test]
async fn whoever_does_not_wait_for_the_answer_offends() {
    let mut b = Node::new("b").await;
    let (_endpoint, quic, seen) = attacker(&mut b).await;
    let (mut send, _recv) = say(&quic, text_head(5)).await;
    let mut inbound = b.text().await;
    inbound.asked().await.unwrap();
    send.write_all(b"pushy").await.unwrap();
    let offence = LinkError::Offence(Offence::UnexpectedMessage);
    assert_eq!(inbound.gone().await, offence);
    assert_eq!(seen.closed().await, offence);
}

#[tokio::test]
async fn texts_nobody_takes_cost_the_peer_its_streams_and_us_nothing() {
    let mut b = Node::new("b").await;
    let (_endpoint, quic, seen) = attacker(&mut b).await;
    let mut streams = Vec::new();
    let flood = async {
        loop {
            streams.push(say(&quic, text_head(5)).await);
        }
    };
    // As many as QUIC lets it open at once, and the first one is still to be answered.
    let ended = tokio::time::timeout(Duration::from_millis(500), flood).await;
    assert!(ended.is_err() && !seen.is_closed());
    drop(b.text().await);
    assert!(streams.len() <= 32, "{}", streams.len());
}

#[tokio::test]
async fn a_program_that_does_not_know_texts_is_known_by_its_handshake() {
    let mut b = Node::new("b").await;
    let identity = Identity::generate().unwrap();
    let endpoint = raw_endpoint();
    let tls = identity.client_config_for(Some(b.id()), &[ALPN]).unwrap();
    let config = quinn::ClientConfig::new(tls.crypto);
    let connecting = endpoint.connect_with(config, b.addr(), &tls.server_name);
    let quic = connecting.unwrap().await.unwrap();
    raw_greeting(&quic, &identity).await;
    let seen = b.connected().await;
    assert!(!seen.understands_texts());
    assert!(!seen.is_closed(), "it is a peer as good as any");
}
