//! One to many: what the messages about it carry, and the streams by which receivers pass content
//! on to each other. See "A session" in `README.md` beside this file.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::groups::Hash;
use super::message::{FileIndex, Stamp, Timestamp, TransferId};
use crate::peer::PeerId;

/// ALPN of peers that understand sessions too, and everything that
/// [`super::texts::ALPN_TEXTS`] stands for.
pub const ALPN_SESSIONS: &[u8] = b"peerconnect/1.2";

/// ALPN of peers that understand wills too, and everything that [`ALPN_SESSIONS`] stands for.
pub const ALPN_WILLS: &[u8] = b"peerconnect/1.3";

/// ALPN of peers that understand [`super::message::ReceiverMessage::Holds`] and
/// [`Trouble::Withheld`] too, and everything that [`super::limits::ALPN_LIMITS`] stands for.
pub const ALPN_PARTS: &[u8] = b"peerconnect/1.6";

/// ALPN of peers that understand streams of [`Referral`]s too, and everything that [`ALPN_PARTS`]
/// stands for.
pub const ALPN_REFERRALS: &[u8] = b"peerconnect/1.7";

/// Stands in place of a file's number in the header of a stream that refers several files
/// elsewhere, each as a whole.
pub const REFERRALS: FileIndex = FileIndex::MAX;
/// Most files in one such stream.
pub const REFERRALS_MAX: usize = 16;
/// Files of up to so many bytes are never referred elsewhere: that would cost more than it saves.
pub const REFERRED_MIN: u64 = 1024;
/// Most addresses of a [`Feeder::Member`].
pub const FEEDER_ADDRS_MAX: usize = 8;
/// Most files in one [`super::message::ReceiverMessage::Progress`].
pub const FED_MAX: usize = 1024;
/// Most files in one [`super::message::ReceiverMessage::Holds`].
pub const HELD_FILES_MAX: usize = 64;
/// Most runs of groups in one of them, in all files together.
pub const HELD_RUNS_MAX: usize = 1024;
/// Most feeders of a will.
pub const HEIRS_MAX: usize = 8;
/// Most hashes of groups in all files of a will, 32 bytes each: those of a tebibyte.
pub const WILL_HASHES_MAX: usize = 1 << 20;
/// Groups that may be asked for on one pull stream and not be answered yet.
pub const PULLS_MAX: usize = 64;

/// Lets a receiver know which other receivers it may give content to: they show
/// [`Ticket::new`] of it. Chosen at random by the origin for each receiver.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedingKey(pub [u8; 32]);

impl fmt::Debug for FeedingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FeedingKey(..)")
    }
}

/// Shows a receiver that the origin has sent us for content. Good for one receiver at one other,
/// so that whoever sees it cannot use it.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Ticket([u8; 32]);

impl PartialEq for Ticket {
    /// Takes the same time whatever is different.
    fn eq(&self, other: &Self) -> bool {
        blake3::Hash::from_bytes(self.0) == blake3::Hash::from_bytes(other.0)
    }
}

impl Eq for Ticket {}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(..)")
    }
}

impl Ticket {
    /// For `child`, at the receiver that was given `key`.
    pub fn new(key: &FeedingKey, child: PeerId) -> Self {
        Self(*blake3::keyed_hash(&key.0, child.as_bytes()).as_bytes())
    }

    /// Whether it is the one of `child`.
    pub fn is_for(&self, key: &FeedingKey, child: PeerId) -> bool {
        *self == Self::new(key, child)
    }
}

/// What a receiver learns of the session that its transfer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionNote {
    /// How many receivers there are, this one included.
    pub receivers: u32,
    /// For those that this one may be asked to feed.
    pub key: FeedingKey,
}

/// Who a receiver gets content from that the origin does not send itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Feeder {
    /// The origin sends everything. What it referred elsewhere is to be asked of it again.
    Origin,
    /// Another receiver.
    Member {
        /// The transfer to it, which names it in this session.
        member: TransferId,
        /// Its key.
        peer: PeerId,
        /// Where it may be, most useful first; at most [`FEEDER_ADDRS_MAX`].
        addrs: Vec<SocketAddr>,
        /// To be shown there.
        ticket: Ticket,
    },
}

/// Bytes of a file that have come from another receiver and are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fed {
    /// Which file.
    pub index: FileIndex,
    /// How many more since the last time.
    pub bytes: u64,
}

/// Consecutive groups of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRun {
    /// The first one.
    pub first: u32,
    /// How many; at least one.
    pub count: u32,
}

impl GroupRun {
    /// The first one behind it.
    pub fn end(&self) -> u32 {
        self.first.saturating_add(self.count)
    }
}

/// What a receiver has of a file that is not complete there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPart {
    /// Which file.
    pub index: FileIndex,
    /// Fingerprint of the source that the groups came from.
    pub stamp: Stamp,
    /// How many groups the file has in all.
    pub groups: u32,
    /// Those that are there and verified, in order, with others between them.
    pub runs: Vec<GroupRun>,
}

impl HeldPart {
    /// All groups of the file.
    pub fn all(&self) -> GroupRun {
        GroupRun {
            first: 0,
            count: self.groups,
        }
    }

    /// Whether both are of the same version of the file.
    pub fn is_same_version(&self, other: &Self) -> bool {
        (self.stamp, self.groups) == (other.stamp, other.groups)
    }

    /// Whether the runs are what they must be: in order, apart, and inside the file.
    pub fn is_sound(&self) -> bool {
        let mut next = 0;
        self.runs.iter().all(|run| {
            let end = run.first.checked_add(run.count);
            let fits = run.count > 0 && run.first >= next;
            // The next one begins behind a gap.
            next = end.unwrap_or(u32::MAX).saturating_add(1);
            fits && end.is_some_and(|end| end <= self.groups)
        })
    }
}

/// What a receiver has against the one that feeds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Trouble {
    /// It cannot be reached, or does not answer.
    Gone,
    /// It is there, but nothing comes.
    Slow,
    /// What it gave was not what the origin says it should be.
    Lied,
    /// It is there, and for some seconds as good as nothing came of what it was asked for: it is
    /// silent, or says that it has not got it. From the receiver it means no more than that:
    /// whether the feeder has this group the origin must know.
    Withheld {
        /// The file of a group that it was asked for.
        index: FileIndex,
        /// Which group.
        group: u32,
        /// The feeder says that it has not got it, and does not just say nothing.
        denied: bool,
    },
}

/// What a receiver must know of a file to get it from others when the origin is gone: the same as
/// the file's own stream would say, without the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WillFile {
    /// Which file.
    pub index: FileIndex,
    /// Bytes of the file.
    pub size: u64,
    /// Its modification time.
    pub modified: Timestamp,
    /// Fingerprint of the source.
    pub stamp: Stamp,
    /// Number of the first group in `groups`. With 0 everything that was said of this file before
    /// counts no more.
    pub first: u32,
    /// Hashes of groups, consecutive; at most [`super::message::HAVE_GROUPS_MAX`].
    pub groups: Vec<Hash>,
}

/// A file with one group, whose content comes from another receiver: the same as its own stream
/// would say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Referral {
    /// Which file.
    pub index: FileIndex,
    /// Bytes of the file; at most one group.
    pub size: u64,
    /// Its modification time.
    pub modified: Timestamp,
    /// Fingerprint of the source.
    pub stamp: Stamp,
    /// Of its only group, and so of the file.
    pub hash: Hash,
}

/// First on a pull stream, by the receiver that wants content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullHead {
    /// The transfer to the receiver that is asked.
    pub member: TransferId,
    /// From the origin.
    pub ticket: Ticket,
}

/// From the receiver that wants content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pull {
    /// Give this group, now or as soon as it is there.
    Want {
        /// Names the request on this stream.
        id: u32,
        /// The file, as the origin's file streams name it.
        stamp: Stamp,
        /// Which group.
        group: u32,
    },
    /// This is not wanted any more. It may have been given already.
    Forget {
        /// The request.
        id: u32,
    },
}

/// The answer to a [`Pull::Want`]; in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pulled {
    /// The content follows, as so many bytes that are no frame.
    Content {
        /// The request.
        id: u32,
        /// Bytes; at most one group.
        len: u32,
    },
    /// It is not here and will not be.
    Gone {
        /// The request.
        id: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_for_one_receiver_at_one_other() {
        let (key, other) = (FeedingKey([1; 32]), FeedingKey([2; 32]));
        let [child, stranger] = [3, 4].map(|n| PeerId::from_bytes([n; 32]));
        let ticket = Ticket::new(&key, child);
        assert!(ticket.is_for(&key, child));
        assert!(!ticket.is_for(&key, stranger));
        assert!(!ticket.is_for(&other, child));
    }

    #[test]
    fn runs_are_in_order_and_apart_and_inside_the_file() {
        let part = |runs: &[(u32, u32)]| HeldPart {
            index: 0,
            stamp: Stamp([0; 16]),
            groups: 9,
            runs: runs
                .iter()
                .map(|&(first, count)| GroupRun { first, count })
                .collect(),
        };
        let sound: [&[(u32, u32)]; 4] = [&[], &[(0, 9)], &[(0, 2), (3, 1)], &[(8, 1)]];
        for runs in sound {
            assert!(part(runs).is_sound(), "{runs:?}");
        }
        let unsound: [&[(u32, u32)]; 6] = [
            &[(0, 0)],
            &[(0, 10)],
            &[(0, 2), (2, 1)],
            &[(3, 2), (0, 1)],
            &[(u32::MAX, 1)],
            &[(1, u32::MAX)],
        ];
        for runs in unsound {
            assert!(!part(runs).is_sound(), "{runs:?}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let key = FeedingKey([7; 32]);
        let ticket = Ticket::new(&key, PeerId::from_bytes([3; 32]));
        assert_eq!(format!("{key:?} {ticket:?}"), "FeedingKey(..) Ticket(..)");
    }
}
