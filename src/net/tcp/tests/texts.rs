//! Texts to originals and from them.

use super::*;
use crate::net::tcp::{
    LegacyArrival, LegacyListener, LegacyOptions, NotSent, PlainText, TALKERS_PER_ADDR_MAX, Trees,
    send_text,
};
use crate::net::text_link::InboundText;
use crate::protocol::legacy::stream::{TextDialect, TextStep};
use crate::protocol::texts::TEXT_LEN_MAX;
use tokio::sync::mpsc;

const US: LegacyId = LegacyId::DEFAULT_PROFILE;

fn message(text: &str) -> Vec<u8> {
    let step = TextStep::Message {
        sender: US,
        text: text.into(),
    };
    step.encode().unwrap()
}

/// What came on a connection for texts: all of it must be messages.
fn read(mut bytes: &[u8]) -> Vec<String> {
    let (opening, used) = Opening::decode(bytes).unwrap().unwrap();
    // The one that no original dies of.
    let dialect = TextDialect::Basic;
    assert_eq!(
        opening,
        Opening::Texts {
            sender: US,
            dialect
        }
    );
    bytes = &bytes[used..];
    let mut texts = Vec::new();
    while let Some((TextStep::Message { text, .. }, used)) = TextStep::decode(bytes).unwrap() {
        texts.push(text);
        bytes = &bytes[used..];
    }
    assert!(bytes.is_empty());
    texts
}

#[tokio::test]
async fn a_text_to_an_original_is_messages_and_nothing_else() {
    let long = "a line\n".repeat(TEXT_LEN_MAX / 7);
    for text in ["hello é", &long] {
        let (listener, addr) = listen().await;
        let original = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            bytes
        });
        let stream = dial(addr).await.unwrap();
        assert_eq!(send_text(stream, US, text).await, Ok(()));
        assert!(read(&original.await.unwrap()).concat() == text);
    }
}

#[tokio::test]
async fn an_original_that_has_no_use_for_texts_is_not_told_any() {
    let (listener, addr) = listen().await;
    let original = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let opening = Opening::Texts {
            sender: US,
            dialect: TextDialect::Basic,
        };
        let mut bytes = vec![0; opening.encode().unwrap().len()];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        rest
    });
    let stream = dial(addr).await.unwrap();
    assert_eq!(send_text(stream, US, "hi").await, Err(NotSent::Unwanted));
    assert!(original.await.unwrap().is_empty(), "the text was sent");
}

struct Listening {
    listener: LegacyListener,
    arrivals: mpsc::Receiver<LegacyArrival>,
    _spool: tempfile::TempDir,
}

impl Listening {
    fn start() -> Self {
        let spool = tempfile::tempdir().unwrap();
        let (listener, arrivals) = LegacyListener::bind(LegacyOptions {
            bind: Some(Ipv4Addr::LOCALHOST.into()),
            port: 0,
            spool: spool.path().to_owned(),
            trees: Trees::default(),
        })
        .unwrap();
        Self {
            listener,
            arrivals,
            _spool: spool,
        }
    }

    /// A connection of an original that said that it is for texts.
    async fn connect(&self, dialect: TextDialect) -> TcpStream {
        let addr = (Ipv4Addr::LOCALHOST, self.listener.port());
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let opening = Opening::Texts {
            sender: US,
            dialect,
        };
        say(&mut stream, &opening.encode().unwrap()).await;
        stream
    }

    async fn text(&mut self) -> PlainText {
        match self.arrivals.recv().await.unwrap() {
            LegacyArrival::Text(text) => text,
            other @ LegacyArrival::Transfer(_) => panic!("{other:?}"),
        }
    }
}

async fn say(stream: &mut TcpStream, bytes: &[u8]) {
    // Who is not wanted may be cut off.
    let _ = stream.write_all(bytes).await;
}

/// Waits for the end of the connection, however it comes. Nothing may be said before.
async fn ended(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(bytes.is_empty(), "originals expect no answers");
}

#[tokio::test]
async fn texts_of_both_kinds_of_originals_come_one_after_the_other() {
    let mut here = Listening::start();
    for dialect in [TextDialect::Basic, TextDialect::Message] {
        let mut stream = here.connect(dialect).await;
        let both = [message("one"), message(""), message("two é")].concat();
        // However it is cut.
        for piece in both.chunks(7) {
            say(&mut stream, piece).await;
        }
        for expected in ["one", "two é"] {
            let text = here.text().await;
            assert_eq!(text.peer().id, US);
            // The next one waits until this one is let in.
            assert!(here.arrivals.try_recv().is_err());
            let mut text = text.admit();
            assert_eq!(text.head().len as usize, expected.len());
            assert_eq!(text.take().await.as_deref(), Ok(expected));
        }
        let close = TextStep::Close { sender: US };
        say(&mut stream, &close.encode().unwrap()).await;
        ended(&mut stream).await;
    }
}

#[tokio::test]
async fn a_text_that_is_not_let_in_ends_its_connection() {
    let mut here = Listening::start();
    let mut stream = here.connect(TextDialect::Basic).await;
    say(&mut stream, &message("spam").repeat(100)).await;
    drop(here.text().await);
    ended(&mut stream).await;
    assert!(here.arrivals.try_recv().is_err());
}

#[tokio::test]
async fn what_is_no_text_ends_the_connection_and_nobody_hears_of_it() {
    let mut here = Listening::start();
    let mut not_utf8 = message("abc");
    let at = not_utf8.windows(3).position(|w| w == b"abc").unwrap();
    not_utf8[at] = 0xff;
    let opening = Opening::Files {
        file_id: "0".into(),
        sender: US,
    };
    for bytes in [
        not_utf8,
        vec![0xff; 8],
        (64 * 1024 + 1_u32).to_be_bytes().to_vec(),
        opening.encode().unwrap(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        let mut stream = here.connect(TextDialect::Basic).await;
        say(&mut stream, &bytes).await;
        ended(&mut stream).await;
        assert!(here.arrivals.try_recv().is_err());
    }
}

#[tokio::test]
async fn one_computer_talks_on_few_connections() {
    let mut here = Listening::start();
    let mut open = Vec::new();
    for n in 0..TALKERS_PER_ADDR_MAX {
        let mut stream = here.connect(TextDialect::Basic).await;
        // It is counted once it has said what it is for.
        say(&mut stream, &message(&n.to_string())).await;
        here.text().await.admit();
        open.push(stream);
    }
    let mut more = here.connect(TextDialect::Basic).await;
    ended(&mut more).await;
    open.clear();
    // Those that are gone make room.
    loop {
        let mut again = here.connect(TextDialect::Basic).await;
        say(&mut again, &message("again")).await;
        tokio::select! {
            text = here.text() => {
                text.admit();
                break;
            }
            () = ended(&mut again) => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection_sooner_inside_a_message() {
    let mut here = Listening::start();
    let mut waited = Vec::new();
    for (whole, part) in [(false, true), (true, false), (false, false)] {
        let mut stream = here.connect(TextDialect::Basic).await;
        if whole {
            say(&mut stream, &message("hi")).await;
            here.text().await.admit();
        }
        if part {
            say(&mut stream, &message("hi")[..9]).await;
        }
        let since = tokio::time::Instant::now();
        ended(&mut stream).await;
        waited.push(since.elapsed().as_secs());
    }
    assert!((29..=31).contains(&waited[0]), "{waited:?}");
    assert!(waited[1] >= 599 && waited[2] >= 599, "{waited:?}");
}
