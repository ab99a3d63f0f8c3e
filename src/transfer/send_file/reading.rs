//! Reads groups into buffers that are used again, and hashes them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::protocol::groups::{GROUP_LEN, Hash, group_offset, hash_group};
use crate::protocol::message::SourceFault;
use crate::storage::source::SourceFile;
use crate::transfer::known::KnownHashes;

/// A group as it was read.
pub(super) enum Read {
    /// Its content, and its hash if the receiver is told it.
    Whole(Bytes, Option<Hash>),
    /// The file ends before the group does.
    Short,
}

/// Buffers of groups that may still be on their way out, oldest first; used again when they are
/// free, because a fresh mebibyte costs nearly as much as hashing it.
#[derive(Default)]
pub(super) struct Buffers(VecDeque<Bytes>);

/// Most buffers that are kept: what the send window of a connection can hold, and those read ahead.
const BUFFERS_MAX: usize = 20;

impl Buffers {
    pub(super) fn take(&mut self, len: usize) -> BytesMut {
        if len == GROUP_LEN as usize
            && let Some(oldest) = self.0.pop_front()
        {
            match oldest.try_into_mut() {
                Ok(free) => return free,
                Err(busy) => self.0.push_front(busy),
            }
        }
        BytesMut::zeroed(len)
    }

    pub(super) fn give(&mut self, content: &Bytes) {
        if content.len() == GROUP_LEN as usize && self.0.len() < BUFFERS_MAX {
            self.0.push_back(content.clone());
        }
    }
}

/// Where the hash of a group comes from.
pub(super) enum Hashing {
    /// Nobody needs it.
    No,
    /// It was computed for another receiver.
    Known(Hash),
    /// It is computed, and kept for others where there are any.
    Compute(Option<Arc<KnownHashes>>),
}

/// Reads a group into `buffer`, which is as long as the group.
pub(super) fn read_group(
    source: &SourceFile,
    mut buffer: BytesMut,
    size: u64,
    group: u32,
    hashing: Hashing,
) -> Result<Read, SourceFault> {
    let mut at = 0;
    while let Some(rest) = buffer.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match source.read_at(group_offset(group) + at as u64, rest)? {
            0 => return Ok(Read::Short),
            n => at += n,
        }
    }
    let hash = match hashing {
        Hashing::No => None,
        Hashing::Known(hash) => Some(hash),
        Hashing::Compute(others) => {
            let hash = hash_group(size, group, &buffer);
            if let Some(known) = others {
                known.put(source.stamp(), group, hash);
            }
            Some(hash)
        }
    };
    Ok(Read::Whole(buffer.freeze(), hash))
}
