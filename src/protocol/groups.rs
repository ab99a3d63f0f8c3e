//! Content verification by groups of 1 MiB, so that any part of a file can be checked, kept and
//! fetched again on its own while the whole still has one plain BLAKE3 hash.
//!
//! A file is cut into groups of [`GROUP_LEN`] bytes (the last one may be shorter; an empty file
//! has one empty group). The hash of a group is its BLAKE3 *chaining value* as a subtree at its
//! offset; the chaining values of all groups give the hash of the file by the rules of the
//! BLAKE3 paper, section 2.1 (`blake3::hazmat`). A file of one group has no subtree: there the
//! group hash is the file hash.

use blake3::hazmat::{
    HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

/// Bytes of a group: 1 MiB. A journal entry of 32 bytes for each keeps resuming cheap (32 KiB per
/// GiB), and a damaged group costs one MiB to fetch again.
pub const GROUP_LEN: u64 = 1024 * 1024;

/// Largest size of a file, in bytes (2^50): what keeps group numbers within `u32`.
pub const FILE_SIZE_MAX: u64 = 1 << 50;

/// A group hash (chaining value), or the hash of a whole file.
pub type Hash = [u8; 32];

/// How many groups a file of `size` bytes has: at least one.
pub fn group_count(size: u64) -> u32 {
    size.min(FILE_SIZE_MAX).div_ceil(GROUP_LEN).max(1) as u32
}

/// Where group `group` starts in the file, in bytes.
pub fn group_offset(group: u32) -> u64 {
    u64::from(group) * GROUP_LEN
}

/// Bytes of group `group` in a file of `size` bytes; 0 behind the end.
pub fn group_len(size: u64, group: u32) -> u64 {
    size.saturating_sub(group_offset(group)).min(GROUP_LEN)
}

/// Computes the hash of one group from its bytes, fed in order.
///
/// Feed pieces of at least 64 KiB where possible: BLAKE3 is ten times slower on packets.
#[derive(Debug)]
pub struct GroupHasher {
    hasher: blake3::Hasher,
    only_group: bool,
}

impl GroupHasher {
    /// For group `group` of a file of `size` bytes.
    pub fn new(size: u64, group: u32) -> Self {
        let mut hasher = blake3::Hasher::new();
        let only_group = group_count(size) == 1;
        if !only_group {
            hasher.set_input_offset(group_offset(group));
        }
        Self { hasher, only_group }
    }

    /// Takes the next bytes of the group.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The hash of the bytes taken.
    pub fn finish(&self) -> Hash {
        if self.only_group {
            *self.hasher.finalize().as_bytes()
        } else {
            self.hasher.finalize_non_root()
        }
    }
}

/// The hash of group `group` of a file of `size` bytes, from its whole content.
pub fn hash_group(size: u64, group: u32, content: &[u8]) -> Hash {
    let mut hasher = GroupHasher::new(size, group);
    hasher.update(content);
    hasher.finish()
}

/// The BLAKE3 hash of a file of `size` bytes from the hashes of all its groups, in order.
/// `None` if the number of hashes is not [`group_count`].
pub fn file_hash(size: u64, groups: &[Hash]) -> Option<Hash> {
    if groups.len() != group_count(size) as usize {
        return None;
    }
    match groups {
        [only] => Some(*only),
        _ => {
            let (left, right) = children(size, groups);
            Some(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
        }
    }
}

fn children(size: u64, groups: &[Hash]) -> (Hash, Hash) {
    let left_len = left_subtree_len(size);
    let (left, right) = groups.split_at((left_len / GROUP_LEN) as usize);
    (subtree(left_len, left), subtree(size - left_len, right))
}

/// Depth is the logarithm of the number of groups: at most 30.
fn subtree(size: u64, groups: &[Hash]) -> Hash {
    match groups {
        [only] => *only,
        _ => {
            let (left, right) = children(size, groups);
            merge_subtrees_non_root(&left, &right, Mode::Hash)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(size: u64) -> Vec<u8> {
        (0..size).map(|i| (i / 251 + i) as u8).collect()
    }

    fn hash_by_groups(bytes: &[u8]) -> Hash {
        let size = bytes.len() as u64;
        let groups: Vec<Hash> = (0..group_count(size))
            .map(|g| {
                let from = group_offset(g) as usize;
                hash_group(size, g, &bytes[from..from + group_len(size, g) as usize])
            })
            .collect();
        file_hash(size, &groups).unwrap()
    }

    #[test]
    fn groups_give_the_plain_blake3_hash_of_the_file() {
        for size in [
            0,
            1,
            GROUP_LEN - 1,
            GROUP_LEN,
            GROUP_LEN + 1,
            2 * GROUP_LEN,
            3 * GROUP_LEN - 5,
            5 * GROUP_LEN,
            7 * GROUP_LEN + 1025,
        ] {
            let bytes = content(size);
            assert_eq!(
                hash_by_groups(&bytes),
                *blake3::hash(&bytes).as_bytes(),
                "{size} bytes"
            );
        }
    }

    #[test]
    fn a_wrong_number_of_groups_has_no_hash() {
        assert_eq!(file_hash(GROUP_LEN + 1, &[[0; 32]]), None);
        assert_eq!(file_hash(0, &[]), None);
    }

    #[test]
    fn lengths_at_the_borders() {
        assert_eq!(group_count(0), 1);
        assert_eq!(group_count(GROUP_LEN), 1);
        assert_eq!(group_count(GROUP_LEN + 1), 2);
        assert_eq!(group_len(GROUP_LEN + 1, 1), 1);
        assert_eq!(group_len(GROUP_LEN + 1, 2), 0);
        assert_eq!(group_count(FILE_SIZE_MAX), 1 << 30);
    }
}
