//! A file on its way in: whole in memory already, or read from the connection that it was lent.

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::body::Body;
use crate::net::link::{DATA_LEN_MAX, FileReader, LinkError, Piece};
use crate::protocol::groups::{group_count, group_len};
use crate::protocol::message::Code;

/// A file on its way in. Dropped in its middle, the rest of its content is thrown away when it
/// comes, because the protocol has no way to stop it.
#[derive(Debug)]
pub struct TcpReader {
    size: u64,
    group: u32,
    stage: Stage,
    source: Source,
    /// Holds up the end of the link until nobody needs this any more: what has come whole is not
    /// to be stopped because the sender is gone.
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Source {
    Whole(Bytes),
    Lent(Lent),
    Gone,
}

/// A connection that goes back to its link when the file is over.
#[derive(Debug)]
struct Lent {
    body: Option<Body>,
    back: Option<oneshot::Sender<Body>>,
}

impl Lent {
    fn give_back(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            // A link that is closed needs it no more.
            let _ = back.send(body);
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Which piece is next.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Group,
    /// So many bytes of the group are missing.
    Content(u64),
    GroupEnd,
    End,
    Over,
}

impl TcpReader {
    pub(super) fn whole(content: Bytes, place: OwnedSemaphorePermit) -> Self {
        Self::new(content.len() as u64, Source::Whole(content), place)
    }

    /// Reads `body.left` bytes and then gives `body` back.
    pub(super) fn lent(body: Body, place: OwnedSemaphorePermit) -> (Self, oneshot::Receiver<Body>) {
        let (back, returned) = oneshot::channel();
        let size = body.left;
        let lent = Lent {
            body: Some(body),
            back: Some(back),
        };
        (Self::new(size, Source::Lent(lent), place), returned)
    }

    fn new(size: u64, source: Source, place: OwnedSemaphorePermit) -> Self {
        Self {
            size,
            group: 0,
            stage: Stage::Group,
            source,
            _place: place,
        }
    }

    async fn data(&mut self, left: u64) -> Result<Bytes, LinkError> {
        let most = left.min(DATA_LEN_MAX as u64) as usize;
        match &mut self.source {
            Source::Whole(content) => Ok(content.split_to(most.min(content.len()))),
            Source::Lent(Lent {
                body: Some(body), ..
            }) => {
                while body.buf.is_empty() {
                    if !body.fill(most).await? {
                        return Err(LinkError::Lost("ended inside a file".into()));
                    }
                }
                let data = body.buf.split_to(most.min(body.buf.len())).freeze();
                body.left -= data.len() as u64;
                Ok(data)
            }
            Source::Lent(_) | Source::Gone => Err(LinkError::Lost("the link is gone".into())),
        }
    }
}

impl FileReader for TcpReader {
    async fn read(&mut self) -> Result<Piece, LinkError> {
        match self.stage {
            Stage::Group => {
                self.stage = match group_len(self.size, self.group) {
                    0 => Stage::GroupEnd,
                    len => Stage::Content(len),
                };
                Ok(Piece::Group(self.group))
            }
            Stage::Content(left) => {
                let data = self.data(left).await?;
                self.stage = match left.saturating_sub(data.len() as u64) {
                    0 => Stage::GroupEnd,
                    left => Stage::Content(left),
                };
                Ok(Piece::Data(data))
            }
            Stage::GroupEnd => {
                self.group += 1;
                self.stage = match self.group < group_count(self.size) {
                    true => Stage::Group,
                    false => Stage::End,
                };
                Ok(Piece::GroupEnd(None))
            }
            Stage::End => {
                self.stage = Stage::Over;
                self.source = Source::Gone;
                Ok(Piece::End(None))
            }
            Stage::Over => Err(LinkError::Lost("read beyond the end of a file".into())),
        }
    }

    fn stop(mut self, code: Code) {
        if let Source::Lent(lent) = &mut self.source
            && let Some(body) = &mut lent.body
            && code == Code::Paused
        {
            // It would be wanted again later, and this protocol cannot send it again.
            body.spoiled = true;
        }
    }
}
