//! The group that is coming in. Nothing of it goes into the file's part before all of it is
//! verified: it waits in memory, or, if there is no room, in a file without a name.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::Small;
use crate::protocol::groups::{GroupHasher, Hash, group_len, group_offset};
use crate::storage::folder::Folder;
use crate::storage::part::Part;
use crate::storage::scratch::Scratch;
use crate::transfer::room::{Room, Rooms};

/// A group, as far as it has come.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) number: u32,
    /// Size of the file.
    size: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Memory { pieces: Vec<Bytes>, room: Room },
    Aside(Box<Aside>),
}

/// Content on the disk, hashed on its way there.
#[derive(Debug)]
struct Aside {
    scratch: Arc<Scratch>,
    hasher: GroupHasher,
    len: u64,
}

impl Group {
    /// Nothing of the group yet. `tag` is that of the file's part.
    pub(super) fn begin(
        rooms: &Rooms,
        folder: &Folder,
        tag: &str,
        size: u64,
        number: u32,
    ) -> io::Result<Self> {
        let content = match rooms.take(group_len(size, number) as usize) {
            Some(room) => Content::Memory {
                pieces: Vec::new(),
                room,
            },
            None => Content::Aside(Box::new(Aside {
                scratch: Arc::new(Scratch::new(folder, tag)?),
                hasher: GroupHasher::new(size, number),
                len: 0,
            })),
        };
        Ok(Self {
            number,
            size,
            content,
        })
    }

    /// Takes the next bytes.
    pub(super) async fn push(&mut self, data: Bytes) -> io::Result<()> {
        match &mut self.content {
            Content::Memory { pieces, .. } => {
                pieces.push(data);
                Ok(())
            }
            Content::Aside(aside) => aside.push(data).await,
        }
    }

    /// The hash of what has come.
    pub(super) fn hash(&self) -> Hash {
        match &self.content {
            Content::Memory { pieces, .. } => {
                let mut hasher = GroupHasher::new(self.size, self.number);
                for piece in pieces {
                    hasher.update(piece);
                }
                hasher.finish()
            }
            Content::Aside(aside) => aside.hasher.finish(),
        }
    }

    /// The content of a small file, if it is in memory.
    pub(super) fn into_small(self) -> Result<Small, Self> {
        match self.content {
            Content::Memory { pieces, room } => Ok(Small {
                bytes: joined(pieces),
                room,
            }),
            Content::Aside(_) => Err(self),
        }
    }

    /// Puts it into its place. Blocking.
    pub(super) fn write(&self, part: &Part) -> io::Result<()> {
        let offset = group_offset(self.number);
        match &self.content {
            Content::Memory { pieces, .. } => {
                part.write_pieces(offset, pieces.iter().map(Bytes::as_ref))
            }
            Content::Aside(aside) => aside.scratch.copy_to(part, offset, aside.len),
        }
    }
}

impl Aside {
    async fn push(&mut self, data: Bytes) -> io::Result<()> {
        let (scratch, at) = (self.scratch.clone(), self.len);
        self.hasher.update(&data);
        self.len += data.len() as u64;
        let work = move || scratch.write_at(at, &data);
        tokio::task::spawn_blocking(work)
            .await
            .map_err(io::Error::other)?
    }
}

/// The content of a small file; it mostly came in one piece.
fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    match pieces.len() {
        0 | 1 => pieces.pop().unwrap_or_default(),
        _ => pieces.concat().into(),
    }
}
