//! Numbers that originals have fixed.

use super::id::ID_LEN;

const CHUNK_MIN: u64 = 64 * 1024;
const CHUNK_MAX: u64 = 2 * 1024 * 1024;
const SIZE_MIN: u64 = 1024;
const SIZE_MAX: u64 = 10 * 1024 * 1024 * 1024;

/// How many bytes an original writes at once from a file of `size` bytes. It gives up when the
/// receiver does not take as many within ten seconds; in OTM sessions it is the unit of relaying.
pub fn chunk_size(size: u64) -> u64 {
    let above = size.clamp(SIZE_MIN, SIZE_MAX) - SIZE_MIN;
    // At most 2^21 * 2^34.
    let chunk = CHUNK_MIN + (CHUNK_MAX - CHUNK_MIN) * above / (SIZE_MAX - SIZE_MIN);
    chunk - chunk % 1024
}

/// The ids of the lists that originals keep their records in: twenty points on the ring, each the
/// one before plus 2^160 / 20 as the original rounded it.
pub const LIST_IDS: [[u8; ID_LEN]; 20] = list_ids();

const fn list_ids() -> [[u8; ID_LEN]; 20] {
    let mut ids = [[0; ID_LEN]; 20];
    let mut i = 1;
    while i < ids.len() {
        ids[i] = plus_step(ids[i - 1]);
        i += 1;
    }
    ids
}

/// Adds 0x0ccc...ccc.
const fn plus_step(mut id: [u8; ID_LEN]) -> [u8; ID_LEN] {
    let mut carry = 0;
    let mut i = ID_LEN;
    while i > 0 {
        i -= 1;
        let step = if i == 0 { 0x0c } else { 0xcc };
        let sum = id[i] as u16 + step + carry;
        id[i] = sum as u8;
        carry = sum >> 8;
    }
    id
}

/// The list that an original with this id puts its record in: the nearest one.
pub fn list_of(id: &super::LegacyId) -> [u8; ID_LEN] {
    let nearest = LIST_IDS.iter().min_by_key(|list| id.distance(list));
    nearest.copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::legacy::LegacyId;

    #[test]
    fn a_peer_belongs_to_the_nearest_list() {
        assert_eq!(list_of(&LegacyId::from_bytes(LIST_IDS[7])), LIST_IDS[7]);
        assert_eq!(list_of(&LegacyId::from_bytes([0; ID_LEN])), LIST_IDS[0]);
        assert_eq!(list_of(&LegacyId::from_bytes([0xff; ID_LEN])), LIST_IDS[19]);
    }
}
