//! The little of HTTP (RFC 9112) that routers need: one question on each connection, and its
//! answer, however it is cut.
//!
//! Nothing is followed, and nothing is kept open.

use std::net::Ipv4Addr;

use httparse::{EMPTY_HEADER, Header, ParserConfig, Response, Status};

use super::url::Url;

/// Most bytes of a status line with its headers.
pub const HEAD_LEN_MAX: usize = 8 * 1024;
/// Most headers.
const HEADERS_MAX: usize = 64;
/// Most bytes of the line with a chunk's size.
const SIZE_LINE_MAX: usize = 256;
/// So many answers that are none yet may come before the one that is: some say `100 Continue`
/// though nobody waits for it.
const INTERIM_MAX: u8 = 2;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// As in RFC 9110.
    pub status: u16,
    /// Of the length that the reader allows, at most.
    pub body: Vec<u8>,
}

/// Why something is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not HTTP.
    #[error("not HTTP")]
    Malformed,
    /// It is longer than anything that a router has to say.
    #[error("too long")]
    TooLong,
    /// It ends before it is complete.
    #[error("broken off")]
    BrokenOff,
}

/// An answer that is arriving.
#[derive(Debug)]
pub struct Incoming {
    body_max: usize,
    /// What has arrived and is not understood yet.
    raw: Vec<u8>,
    status: u16,
    body: Vec<u8>,
    state: State,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head {
        interim_left: u8,
    },
    /// So much of the body.
    Counted(usize),
    /// The body, until the connection ends.
    UntilEnd,
    /// The size of a chunk.
    Size,
    /// So much of a chunk.
    Chunk(usize),
    /// The line end behind a chunk.
    ChunkEnd,
    /// Nothing that matters.
    Complete,
}

/// What a head says about the body.
struct Head {
    status: u16,
    body: State,
}

impl Incoming {
    /// One whose body has so many bytes at most.
    pub fn new(body_max: usize) -> Self {
        Self {
            body_max,
            raw: Vec::new(),
            status: 0,
            body: Vec::new(),
            state: State::Head {
                interim_left: INTERIM_MAX,
            },
        }
    }

    /// Takes what has arrived; whether that is all. What is kept is no more than the body may have,
    /// a head, and `bytes`. After an error nothing more is to be taken.
    pub fn push(&mut self, bytes: &[u8]) -> Result<bool, Unreadable> {
        self.raw.extend_from_slice(bytes);
        while self.step()? {}
        Ok(self.state == State::Complete)
    }

    /// The answer, once all of it is there or the connection has ended.
    pub fn end(self) -> Result<Answer, Unreadable> {
        match self.state {
            State::Complete | State::UntilEnd => Ok(Answer {
                status: self.status,
                body: self.body,
            }),
            State::Head { .. }
            | State::Counted(_)
            | State::Size
            | State::Chunk(_)
            | State::ChunkEnd => Err(Unreadable::BrokenOff),
        }
    }

    /// Understands one thing more; whether there may be another.
    fn step(&mut self) -> Result<bool, Unreadable> {
        match self.state {
            State::Head { interim_left } => self.head(interim_left),
            State::Counted(left) => self.content(left, State::Complete, State::Counted),
            State::UntilEnd => self
                .content(usize::MAX, State::UntilEnd, |_| State::UntilEnd)
                .map(|_| false),
            State::Size => self.chunk_size(),
            State::Chunk(left) => self.content(left, State::ChunkEnd, State::Chunk),
            State::ChunkEnd => self.chunk_end(),
            State::Complete => Ok(false),
        }
    }

    fn head(&mut self, interim_left: u8) -> Result<bool, Unreadable> {
        let Some((len, head)) = parse_head(&self.raw, head_of)? else {
            return match self.raw.len() > HEAD_LEN_MAX {
                true => Err(Unreadable::TooLong),
                false => Ok(false),
            };
        };
        if len > HEAD_LEN_MAX {
            return Err(Unreadable::TooLong);
        }
        let head = head?;
        self.raw.drain(..len);
        self.status = head.status;
        self.state = match head.status {
            100..200 => State::Head {
                interim_left: interim_left.checked_sub(1).ok_or(Unreadable::TooLong)?,
            },
            _ => head.body,
        };
        // Said before it comes.
        match matches!(self.state, State::Counted(len) if len > self.body_max) {
            true => Err(Unreadable::TooLong),
            false => Ok(true),
        }
    }

    /// Takes up to `left` bytes of the body, after which comes what `after` says.
    fn content(
        &mut self,
        left: usize,
        after: State,
        still: fn(usize) -> State,
    ) -> Result<bool, Unreadable> {
        let len = left.min(self.raw.len());
        if self.body.len() + len > self.body_max {
            return Err(Unreadable::TooLong);
        }
        self.body.extend(self.raw.drain(..len));
        self.state = match left - len {
            0 => after,
            left => still(left),
        };
        Ok(len == left)
    }

    fn chunk_size(&mut self) -> Result<bool, Unreadable> {
        let size = httparse::parse_chunk_size(&self.raw).map_err(|_| Unreadable::Malformed)?;
        let (len, size) = match size {
            Status::Complete(found) => found,
            Status::Partial if self.raw.len() > SIZE_LINE_MAX => return Err(Unreadable::TooLong),
            Status::Partial => return Ok(false),
        };
        if len > SIZE_LINE_MAX {
            return Err(Unreadable::TooLong);
        }
        self.raw.drain(..len);
        let size = usize::try_from(size).map_err(|_| Unreadable::TooLong)?;
        // What may follow the last one says nothing that matters here.
        self.state = match size {
            0 => State::Complete,
            size => State::Chunk(size),
        };
        Ok(true)
    }

    fn chunk_end(&mut self) -> Result<bool, Unreadable> {
        const LINE_END: &[u8] = b"\r\n";
        if self.raw.len() < LINE_END.len() {
            return Ok(false);
        }
        if !self.raw.starts_with(LINE_END) {
            return Err(Unreadable::Malformed);
        }
        self.raw.drain(..LINE_END.len());
        self.state = State::Size;
        Ok(true)
    }
}

/// Reads a head, if all of it is there: its length, and what `read` makes of status and headers.
/// Routers do not all keep to the rules, so lines that are no headers are left out.
pub(super) fn parse_head<T>(
    bytes: &[u8],
    read: impl FnOnce(u16, &[Header<'_>]) -> T,
) -> Result<Option<(usize, T)>, Unreadable> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    let mut config = ParserConfig::default();
    config
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_responses(true);
    let parsed = config.parse_response(&mut response, bytes);
    match parsed.map_err(|_| Unreadable::Malformed)? {
        Status::Complete(len) => {
            let status = response.code.unwrap_or_default();
            Ok(Some((len, read(status, response.headers))))
        }
        Status::Partial => Ok(None),
    }
}

/// The text of the header of this name, if there is one.
pub(super) fn value<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a str> {
    let mut of_name = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case(name));
    let text = std::str::from_utf8(of_name.next()?.value).ok()?;
    Some(text.trim())
}

fn head_of(status: u16, headers: &[Header<'_>]) -> Result<Head, Unreadable> {
    let coding = value(headers, "transfer-encoding");
    let length = value(headers, "content-length");
    let body = match (coding, length) {
        (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => State::Size,
        // Nothing else was asked for; this one means none.
        (Some(coding), _) if !coding.eq_ignore_ascii_case("identity") => {
            return Err(Unreadable::Malformed);
        }
        (_, Some(length)) => State::Counted(length.parse().map_err(|_| Unreadable::Malformed)?),
        (_, None) => State::UntilEnd,
    };
    Ok(Head { status, body })
}

/// Asks for a document.
pub fn get(url: &Url, gateway: Ipv4Addr) -> Vec<u8> {
    let Url { port, path } = url;
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {gateway}:{port}\r\nConnection: close\r\n\
         Accept: text/xml, application/xml\r\n\r\n"
    );
    head.into_bytes()
}

/// Has something done, as SOAP puts it (UPnP Device Architecture 1.1, section 3.1).
pub fn post(url: &Url, gateway: Ipv4Addr, action: &str, body: &str) -> Vec<u8> {
    let Url { port, path } = url;
    let len = body.len();
    // In one piece: some read no further than the first packet.
    let all = format!(
        "POST {path} HTTP/1.1\r\nHost: {gateway}:{port}\r\nConnection: close\r\n\
         Content-Type: text/xml; charset=\"utf-8\"\r\nContent-Length: {len}\r\n\
         SOAPAction: \"{action}\"\r\n\r\n{body}"
    );
    all.into_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 64;

    fn read(bytes: &[u8], step: usize) -> Result<Answer, Unreadable> {
        let mut incoming = Incoming::new(MAX);
        for part in bytes.chunks(step) {
            if incoming.push(part)? {
                break;
            }
        }
        incoming.end()
    }

    fn body(text: &str) -> Result<String, Unreadable> {
        let whole = read(text.as_bytes(), text.len());
        for step in 1..text.len() {
            assert_eq!(read(text.as_bytes(), step), whole, "in pieces of {step}");
        }
        whole.map(|answer| {
            format!(
                "{} {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            )
        })
    }

    #[test]
    fn a_body_ends_as_its_head_says() {
        for (text, wanted) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef",
                "200 abc",
            ),
            (
                "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
                "204 ",
            ),
            ("HTTP/1.0 200 OK\r\n\r\nabc", "200 abc"),
            (
                "HTTP/1.1 500 Error\r\nno header\r\n content-length : 1\r\n\r\na",
                "500 a",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 1\r\n\r\n\
                 3\r\nabc\r\n0a ;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
                "200 abc0123456789",
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
                "200 a",
            ),
        ] {
            assert_eq!(body(text).as_deref(), Ok(wanted), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (text, wanted) in [
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), Unreadable::Malformed),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".into(),
                Unreadable::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".into(),
                Unreadable::Malformed,
            ),
            (format!("{chunked}x\r\n"), Unreadable::Malformed),
            (format!("{chunked}1\r\nabc"), Unreadable::Malformed),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab".into(),
                Unreadable::BrokenOff,
            ),
            ("HTTP/1.1 200 OK\r\nContent".into(), Unreadable::BrokenOff),
            (format!("{chunked}3\r\nab"), Unreadable::BrokenOff),
            (format!("{chunked}2\r\nab"), Unreadable::BrokenOff),
            (format!("{chunked}2\r\nab\r\n"), Unreadable::BrokenOff),
            (
                "HTTP/1.1 100 Continue\r\n\r\n".into(),
                Unreadable::BrokenOff,
            ),
        ] {
            assert_eq!(body(&text), Err(wanted), "{text:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_kept() {
        let long = "a".repeat(MAX + 1);
        let chunks = format!("{:x}\r\n{long}\r\n", MAX + 1);
        let ones = "1\r\na\r\n".repeat(MAX + 1);
        for text in [
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MAX + 1),
            format!("HTTP/1.1 200 OK\r\n\r\n{long}"),
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{ones}"),
            "HTTP/1.1 100 Continue\r\n\r\n".repeat(1 + usize::from(INTERIM_MAX)),
        ] {
            assert_eq!(body(&text), Err(Unreadable::TooLong), "{text:?}");
        }
        let header = format!("X: {}\r\n", "a".repeat(HEAD_LEN_MAX));
        let heads = [
            format!("HTTP/1.1 200 OK\r\n{header}"),
            format!("HTTP/1.1 200 OK\r\n{header}\r\n"),
        ];
        for head in heads {
            assert_eq!(read(head.as_bytes(), 4096), Err(Unreadable::TooLong));
        }
        let line = format!("1;{}", "x".repeat(SIZE_LINE_MAX));
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for text in [
            format!("{head}{line}"),
            format!("{head}{line}\r\na\r\n0\r\n\r\n"),
        ] {
            assert_eq!(body(&text), Err(Unreadable::TooLong));
        }
    }

    #[test]
    fn a_question_is_one_that_any_server_reads() {
        let url = Url {
            port: 5000,
            path: "/a".into(),
        };
        let asked = post(&url, Ipv4Addr::new(10, 0, 0, 1), "urn:x#Do", "<a/>");
        let mut headers = [EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut headers);
        let len = request.parse(&asked).unwrap().unwrap();
        assert_eq!(&asked[len..], b"<a/>");
        assert_eq!((request.method, request.path), (Some("POST"), Some("/a")));
        assert_eq!(value(request.headers, "Content-Length"), Some("4"));
        assert_eq!(value(request.headers, "SOAPAction"), Some("\"urn:x#Do\""));
        assert_eq!(value(request.headers, "Host"), Some("10.0.0.1:5000"));
        let asked = get(&url, Ipv4Addr::new(10, 0, 0, 1));
        assert!(asked.starts_with(b"GET /a HTTP/1.1\r\nHost: 10.0.0.1:5000\r\n"));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_any_answer_is_the_same_and_no_longer_than_allowed(
            head in prop::sample::select(vec![
                "",
                "HTTP/1.1 200 OK\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            ]),
            tail in prop::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(b"0129af\r\n;HTP/ ".to_vec())],
                0..200,
            ),
            step in 1_usize..20,
        ) {
            let bytes = [head.as_bytes(), &tail].concat();
            let whole = read(&bytes, bytes.len().max(1));
            prop_assert_eq!(&read(&bytes, step), &whole);
            if let Ok(answer) = whole {
                prop_assert!(answer.body.len() <= MAX);
            }
        }
    }
}
