//! A file's stream as bytes: what stands for each [`Piece`], without a socket.
//!
//! After the header frame: for each group its number (`u32` big-endian), its content, its hash;
//! at the end [`END_OF_FILE`] and the hash of the file. Nothing may follow. A stream that ends
//! between two groups without that mark is a [`Piece::Break`]. A number with the
//! highest bit set has no content behind it, only the hash: [`Piece::Elsewhere`].

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::link::{DATA_LEN_MAX, Offence, Piece};
use crate::protocol::frame::FrameError;
use crate::protocol::groups::{FILE_SIZE_MAX, GROUP_LEN, Hash, group_count, group_len};
use crate::protocol::message::END_OF_FILE;

const NUMBER_LEN: usize = 4;
/// Set in the number of a group that comes from elsewhere; no group has so high a number.
const ELSEWHERE: u32 = 1 << 31;
const _: () = assert!(FILE_SIZE_MAX / GROUP_LEN < ELSEWHERE as u64);
const HASH_LEN: usize = size_of::<Hash>();

/// A piece without the hash that this protocol needs: a fault of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a piece without its hash")]
pub(super) struct NoHash;

/// Appends everything of `piece` but content to `out`.
pub(super) fn encode_mark(piece: &Piece, out: &mut BytesMut) -> Result<(), NoHash> {
    match piece {
        Piece::Group(group) => out.put_u32(*group),
        // The end of the stream says it.
        Piece::Data(_) | Piece::Break => {}
        Piece::GroupEnd(hash) => out.put_slice(&hash.ok_or(NoHash)?),
        Piece::Elsewhere(group, hash) => {
            out.put_u32(*group | ELSEWHERE);
            out.put_slice(hash);
        }
        Piece::End(hash) => {
            out.put_u32(END_OF_FILE);
            out.put_slice(&hash.ok_or(NoHash)?);
        }
    }
    Ok(())
}

/// Makes pieces of bytes, and checks their order and lengths.
#[derive(Debug)]
pub(super) struct PieceDecoder {
    size: u64,
    /// Bytes that arrived and belong to no piece yet. Whoever drives the decoder appends here.
    pub(super) buf: BytesMut,
    state: State,
    /// First group that may come next.
    next_group: u32,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Number,
    Content {
        left: u64,
    },
    GroupHash,
    /// Of a group that comes from elsewhere.
    ElsewhereHash(u32),
    FileHash,
    Closing(Hash),
    Ended,
}

impl PieceDecoder {
    /// For a file of `size` bytes, at most [`crate::protocol::groups::FILE_SIZE_MAX`].
    pub(super) fn new(size: u64, buf: BytesMut) -> Self {
        Self {
            size,
            buf,
            state: State::Number,
            next_group: 0,
        }
    }

    /// Whether [`Piece::End`] or [`Piece::Break`] was given out.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// How many bytes should be in the buffer before [`Self::next`] is asked, so that content
    /// comes in pieces of `content` bytes where there are so many. It works with fewer.
    pub(super) fn wanted(&self, content: usize) -> usize {
        match self.state {
            State::Number => NUMBER_LEN,
            State::Content { left } => usize::try_from(left).unwrap_or(content).min(content),
            State::GroupHash | State::ElsewhereHash(_) | State::FileHash => HASH_LEN,
            State::Closing(_) | State::Ended => 1,
        }
    }

    /// Whether content comes next.
    pub(super) fn in_content(&self) -> bool {
        matches!(self.state, State::Content { .. })
    }

    /// How large the buffer of this file should be: no more than a small file needs.
    pub(super) fn capacity(&self) -> usize {
        let content = self.size.min(DATA_LEN_MAX as u64) as usize;
        content + 2 * (NUMBER_LEN + HASH_LEN)
    }

    /// The next piece in the buffer, `None` if more bytes are needed. `fin`: none will come.
    pub(super) fn next(&mut self, fin: bool) -> Result<Option<Piece>, Offence> {
        let piece = match self.state {
            State::Number if fin && self.buf.is_empty() => {
                self.state = State::Ended;
                return Ok(Some(Piece::Break));
            }
            State::Number => match take::<NUMBER_LEN>(&mut self.buf).map(u32::from_be_bytes) {
                Some(END_OF_FILE) => {
                    self.state = State::FileHash;
                    return self.next(fin);
                }
                Some(number) if number & ELSEWHERE != 0 => {
                    let group = self.number(number & !ELSEWHERE)?;
                    self.state = State::ElsewhereHash(group);
                    return self.next(fin);
                }
                Some(group) => Some(self.begin(group)?),
                None => None,
            },
            State::Content { left } => self.content(left),
            State::GroupHash => take(&mut self.buf).map(|hash| {
                self.state = State::Number;
                Piece::GroupEnd(Some(hash))
            }),
            State::ElsewhereHash(group) => take(&mut self.buf).map(|hash| {
                self.state = State::Number;
                Piece::Elsewhere(group, hash)
            }),
            State::FileHash => match take(&mut self.buf) {
                Some(hash) => {
                    self.state = State::Closing(hash);
                    return self.next(fin);
                }
                None => None,
            },
            State::Closing(_) if !self.buf.is_empty() => return Err(Offence::WrongGroup),
            State::Closing(hash) if fin => {
                self.state = State::Ended;
                return Ok(Some(Piece::End(Some(hash))));
            }
            State::Closing(_) | State::Ended => return Ok(None),
        };
        match piece {
            None if fin => Err(Offence::Frame(FrameError::Truncated)),
            piece => Ok(piece),
        }
    }

    /// A group that may come now.
    fn number(&mut self, group: u32) -> Result<u32, Offence> {
        if group < self.next_group || group >= group_count(self.size) {
            return Err(Offence::WrongGroup);
        }
        self.next_group = group + 1;
        Ok(group)
    }

    fn begin(&mut self, group: u32) -> Result<Piece, Offence> {
        self.number(group)?;
        self.state = match group_len(self.size, group) {
            0 => State::GroupHash,
            left => State::Content { left },
        };
        Ok(Piece::Group(group))
    }

    /// How many bytes of content may be taken past the buffer, which must be empty: 0 if none.
    pub(super) fn direct(&self) -> usize {
        match self.state {
            State::Content { left } if self.buf.is_empty() => usize::try_from(left)
                .unwrap_or(DATA_LEN_MAX)
                .min(DATA_LEN_MAX),
            State::Content { .. } | State::Number | State::GroupHash => 0,
            State::ElsewhereHash(_) | State::FileHash | State::Closing(_) | State::Ended => 0,
        }
    }

    /// Takes content past the buffer, at most [`Self::direct`] bytes.
    pub(super) fn pass(&mut self, data: Bytes) -> Piece {
        if let State::Content { left } = self.state {
            self.state = match left.saturating_sub(data.len() as u64) {
                0 => State::GroupHash,
                left => State::Content { left },
            };
        }
        Piece::Data(data)
    }

    fn content(&mut self, left: u64) -> Option<Piece> {
        let ready = self.buf.len().min(DATA_LEN_MAX);
        let len = usize::try_from(left).unwrap_or(ready).min(ready);
        if len == 0 {
            return None;
        }
        let left = left - len as u64;
        self.state = if left == 0 {
            State::GroupHash
        } else {
            State::Content { left }
        };
        Some(Piece::Data(self.split(len)))
    }

    fn split(&mut self, len: usize) -> Bytes {
        self.buf.split_to(len).freeze()
    }
}

/// The pieces of a file of `size` bytes whose stream arrives in these chunks. For fuzzing: it is
/// what a stream goes through, without the stream.
#[doc(hidden)]
pub fn decode_chunks(size: u64, chunks: &[&[u8]]) -> Result<Vec<Piece>, Offence> {
    let mut decoder = PieceDecoder::new(size, BytesMut::new());
    let mut pieces = Vec::new();
    for (at, chunk) in chunks.iter().enumerate() {
        decoder.buf.put_slice(chunk);
        while let Some(piece) = decoder.next(at + 1 == chunks.len())? {
            pieces.push(piece);
        }
    }
    Ok(pieces)
}

fn take<const N: usize>(buf: &mut BytesMut) -> Option<[u8; N]> {
    let bytes = *buf.first_chunk::<N>()?;
    buf.advance(N);
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::protocol::groups::GROUP_LEN;
    use proptest::prelude::*;

    fn encode(pieces: &[Piece]) -> BytesMut {
        let mut out = BytesMut::new();
        for piece in pieces {
            encode_mark(piece, &mut out).unwrap();
            if let Piece::Data(data) = piece {
                out.put_slice(data);
            }
        }
        out
    }

    fn decode(size: u64, bytes: &[u8]) -> Result<Vec<Piece>, Offence> {
        let mut decoder = PieceDecoder::new(size, BytesMut::from(bytes));
        let mut pieces = Vec::new();
        while let Some(piece) = decoder.next(true)? {
            pieces.push(piece);
        }
        Ok(pieces)
    }

    fn small() -> Vec<Piece> {
        vec![
            Piece::Group(0),
            Piece::Data(Bytes::from_static(b"hello")),
            Piece::GroupEnd(Some([1; 32])),
            Piece::End(Some([2; 32])),
        ]
    }

    #[test]
    fn a_file_round_trips() {
        assert_eq!(decode(5, &encode(&small())), Ok(small()));
        let empty = vec![
            Piece::Group(0),
            Piece::GroupEnd(Some([1; 32])),
            Piece::End(Some([2; 32])),
        ];
        assert_eq!(decode(0, &encode(&empty)), Ok(empty));
        let only_the_end = vec![Piece::End(Some([2; 32]))];
        assert_eq!(decode(5, &encode(&only_the_end)), Ok(only_the_end));
    }

    #[test]
    fn groups_outside_the_file_or_out_of_order_are_refused() {
        let size = 3 * GROUP_LEN;
        let group = |n| Piece::Group(n);
        assert_eq!(decode(size, &encode(&[group(3)])), Err(Offence::WrongGroup));
        for second in [0, 1] {
            let mut bytes = encode(&[group(1)]);
            bytes.put_bytes(0, GROUP_LEN as usize);
            bytes.put_slice(&encode(&[Piece::GroupEnd(Some([0; 32])), group(second)]));
            assert_eq!(decode(size, &bytes), Err(Offence::WrongGroup), "{second}");
        }
    }

    #[test]
    fn nothing_may_be_missing_or_follow() {
        let whole = encode(&small());
        // Between two groups the sender may break off; it says so by ending the stream there.
        let group_end = NUMBER_LEN + 5 + HASH_LEN;
        for len in 0..whole.len() {
            let decoded = decode(5, &whole[..len]);
            if [0, group_end].contains(&len) {
                assert_eq!(decoded.unwrap().last(), Some(&Piece::Break), "{len} bytes");
            } else {
                let truncated = Err(Offence::Frame(FrameError::Truncated));
                assert_eq!(decoded, truncated, "{len} bytes");
            }
        }
        let mut longer = whole;
        longer.put_u8(0);
        assert_eq!(decode(5, &longer), Err(Offence::WrongGroup));
    }

    #[test]
    fn an_end_between_groups_is_a_break() {
        let pieces = [&small()[..3], &[Piece::Break]].concat();
        assert_eq!(decode(5, &encode(&pieces)), Ok(pieces));
        assert_eq!(decode(5, &[]), Ok(vec![Piece::Break]));
    }

    #[test]
    fn a_group_may_come_from_elsewhere() {
        let size = 2 * GROUP_LEN + 5;
        let pieces = vec![
            Piece::Elsewhere(0, [3; 32]),
            Piece::Elsewhere(1, [4; 32]),
            Piece::Group(2),
            Piece::Data(Bytes::from_static(b"hello")),
            Piece::GroupEnd(Some([1; 32])),
            Piece::End(Some([2; 32])),
        ];
        assert_eq!(decode(size, &encode(&pieces)), Ok(pieces));
        for wrong in [
            vec![Piece::Elsewhere(3, [0; 32])],
            vec![Piece::Elsewhere(1, [0; 32]), Piece::Elsewhere(1, [0; 32])],
            vec![Piece::Elsewhere(1, [0; 32]), Piece::Group(0)],
        ] {
            assert_eq!(decode(size, &encode(&wrong)), Err(Offence::WrongGroup));
        }
        let whole = encode(&[Piece::Elsewhere(0, [3; 32])]);
        for len in 1..whole.len() {
            let truncated = Err(Offence::Frame(FrameError::Truncated));
            assert_eq!(decode(size, &whole[..len]), truncated, "{len} bytes");
        }
    }

    #[test]
    fn a_piece_without_hash_is_not_sent() {
        let mut out = BytesMut::new();
        assert_eq!(encode_mark(&Piece::End(None), &mut out), Err(NoHash));
        assert_eq!(encode_mark(&Piece::GroupEnd(None), &mut out), Err(NoHash));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_content(parts in prop::collection::vec(1usize..40, 1..20)) {
            let whole = encode(&small());
            let mut decoder = PieceDecoder::new(5, BytesMut::new());
            let (mut at, mut content, mut marks) = (0, Vec::new(), 0);
            for part in parts.into_iter().chain([whole.len()]) {
                let end = (at + part).min(whole.len());
                decoder.buf.put_slice(&whole[at..end]);
                at = end;
                while let Some(piece) = decoder.next(at == whole.len()).unwrap() {
                    match piece {
                        Piece::Data(data) => content.extend_from_slice(&data),
                        Piece::Group(_) | Piece::GroupEnd(_) | Piece::End(_) => marks += 1,
                        Piece::Elsewhere(..) | Piece::Break => unreachable!("the file is complete"),
                    }
                }
            }
            prop_assert_eq!(content, b"hello");
            prop_assert_eq!(marks, 3);
            prop_assert!(decoder.is_ended());
        }

        #[test]
        fn arbitrary_bytes_never_panic(size in 0u64..5_000_000, bytes: Vec<u8>) {
            let _ = decode(size, &bytes);
        }
    }
}
