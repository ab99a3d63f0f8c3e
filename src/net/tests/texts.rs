//! Texts between peers with keys: offered, wanted, delivered; and what hostile peers make of it.

use super::*;
use crate::net::text_link::{InboundText, QuicOutboundText, QuicText, TEXT_DEADLINE, THINKING_MAX};
use crate::protocol::frame::{FrameError, encode};
use crate::protocol::texts::*;

impl Node {
    async fn text(&mut self) -> QuicText {
        loop {
            match self.arrival().await {
                Arrival::Text { link, .. } => return link,
                Arrival::Connected(_) | Arrival::Addresses { .. } => {}
                other @ (Arrival::Disconnected(_)
                | Arrival::Transfer { .. }
                | Arrival::Pull { .. }
                | Arrival::Code { .. }) => {
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

/// As [`attacker`], but one that reads nothing of streams other than the first.
async fn deaf_attacker(node: &mut Node) -> (quinn::Endpoint, quinn::Connection, PeerConnection) {
    let identity = Identity::generate().unwrap();
    let endpoint = raw_endpoint();
    let tls = identity.client_config(Some(node.id())).unwrap();
    let mut config = quinn::ClientConfig::new(tls.crypto);
    let mut transport = quinn::TransportConfig::default();
    // Less than any frame.
    transport.stream_receive_window(2_u32.into());
    config.transport_config(transport.into());
    let connecting = endpoint.connect_with(config, node.addr(), &tls.server_name);
    let quic = connecting.unwrap().await.unwrap();
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    let nonce = identity.random().unwrap();
    send.write_all(&raw_hello(&nonce)).await.unwrap();
    recv.read_exact(&mut [0]).await.unwrap();
    let reveal = encode(&ConnectionMessage::Reveal { nonce }).unwrap();
    send.write_all(&reveal).await.unwrap();
    tokio::spawn(async move {
        let _open = send;
        while let Ok(Some(_)) = recv.read(&mut [0; 64]).await {}
    });
    let seen = node.connected().await;
    (endpoint, quic, seen)
}

/// What comes of something that must not take for ever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    let in_time = tokio::time::timeout(TEXT_DEADLINE * 3, what).await;
    in_time.expect("waits for ever")
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_reads_are_given_up() {
    let mut b = Node::new("b").await;
    let (_endpoint, quic, seen) = deaf_attacker(&mut b).await;
    let lost = |sent: &LinkError| matches!(sent, LinkError::Lost(_));
    let _stream = say(&quic, text_head(5)).await;
    let mut inbound = b.text().await;
    let asked = soon(inbound.asked()).await;
    assert!(asked.is_err_and(|error| lost(&error)));
    let _stream = say(&quic, text_head(5)).await;
    let mut inbound = b.text().await;
    let taken = soon(inbound.take()).await;
    assert!(taken.is_err_and(|error| lost(&error)));
    for delivered in [true, false] {
        let _stream = say(&quic, text_head(5)).await;
        let inbound = b.text().await;
        match delivered {
            true => soon(inbound.delivered()).await,
            false => soon(inbound.decline(DeclineReason::Busy)).await,
        }
    }
    let offered = soon(seen.offer_text(text_head(5))).await;
    assert!(offered.is_err_and(|error| lost(&error)));
    assert!(!seen.is_closed(), "files may be on their way");
}

/// A text on its way to an attacker, who answers like this.
async fn answered(seen: &PeerConnection, quic: &quinn::Connection, answers: &[TextAnswer]) -> Sent {
    let out = seen.offer_text(text_head(5)).await.unwrap();
    let (mut send, recv) = quic.accept_bi().await.unwrap();
    for answer in answers {
        send.write_all(&encode(answer).unwrap()).await.unwrap();
    }
    Sent {
        out,
        _there: (send, recv),
    }
}

struct Sent {
    out: QuicOutboundText,
    _there: (quinn::SendStream, quinn::RecvStream),
}

#[tokio::test]
async fn answers_out_of_their_turn_are_offences() {
    use TextAnswer::{Accepted, Asked, Declined, Delivered};
    let no = Declined(DeclineReason::Person);
    for (answers, last) in [
        (&[Asked][..], Asked),
        (&[Asked], Delivered),
        (&[Accepted], Accepted),
        (&[Accepted], Asked),
        (&[Accepted], no),
        (&[Asked, Accepted], Asked),
        (&[Asked, Accepted, Delivered], Delivered),
        (&[Asked, no], Accepted),
    ] {
        let mut b = Node::new("b").await;
        let (_endpoint, quic, seen) = attacker(&mut b).await;
        let all = [answers, &[last]].concat();
        let mut sent = answered(&seen, &quic, &all).await;
        for answer in answers {
            assert_eq!(sent.out.answer().await, Ok(*answer));
        }
        let offence = LinkError::Offence(Offence::UnexpectedMessage);
        assert_eq!(sent.out.answer().await, Err(offence.clone()), "{all:?}");
        assert_eq!(seen.closed().await, offence);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_do_not_come_are_not_waited_for_for_ever() {
    let mut b = Node::new("b").await;
    let (_endpoint, quic, seen) = attacker(&mut b).await;
    let asked = [TextAnswer::Asked];
    let mut sent = answered(&seen, &quic, &asked).await;
    assert_eq!(sent.out.answer().await, Ok(TextAnswer::Asked));
    let thinking = tokio::time::timeout(THINKING_MAX * 2, sent.out.answer());
    let declined = TextAnswer::Declined(DeclineReason::NoAnswer);
    assert_eq!(thinking.await.expect("waits for ever"), Ok(declined));

    let mut sent = answered(&seen, &quic, &[TextAnswer::Accepted]).await;
    assert_eq!(sent.out.answer().await, Ok(TextAnswer::Accepted));
    sent.out.send("hello").await.unwrap();
    let confirmed = soon(sent.out.answer()).await;
    assert!(
        matches!(confirmed, Err(LinkError::Lost(_))),
        "{confirmed:?}"
    );
    assert!(!seen.is_closed(), "a slow disk is no offence");

    let mut sent = answered(&seen, &quic, &[]).await;
    let silent = LinkError::Offence(Offence::Silent);
    assert_eq!(soon(sent.out.answer()).await, Err(silent));
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
async fn what_an_older_program_does_not_know_is_known_by_its_handshake() {
    for (number, alpn) in ALPNS.iter().rev().enumerate() {
        let mut b = Node::new("b").await;
        let identity = Identity::generate().unwrap();
        let endpoint = raw_endpoint();
        let tls = identity.client_config_for(Some(b.id()), &[alpn]).unwrap();
        let config = quinn::ClientConfig::new(tls.crypto);
        let connecting = endpoint.connect_with(config, b.addr(), &tls.server_name);
        let quic = connecting.unwrap().await.unwrap();
        raw_greeting(&quic, &identity).await;
        let seen = b.connected().await;
        let knows = [
            seen.understands_texts(),
            seen.understands_sessions(),
            seen.understands_wills(),
            seen.understands_codes(),
            seen.understands_limits(),
            seen.understands_withheld(),
        ];
        let least = [1, 2, 3, 4, 5, 6];
        assert_eq!(knows, least.map(|least| number >= least), "{alpn:?}");
        assert!(!seen.is_closed(), "it is a peer as good as any");
    }
}
