//! Looks at MessagePack before it is decoded: that it is whole, small and shallow. What passes
//! here costs at most a fixed amount of memory to decode.

use super::LegacyError;

/// Most arrays and maps in each other. The deepest message, an OTM state, has five.
pub const DEPTH_MAX: usize = 6;

/// Most values in one message, keys, arrays and maps counted as well. A decoded value takes about
/// 40 bytes whatever it is, so that a message of nothing but `nil` stays below 200 KiB.
pub const ITEMS_MAX: usize = 4096;

/// The length in bytes of the one value at the beginning of `bytes`, which may go on behind it.
///
/// Fails if the value is not whole ([`LegacyError::Truncated`]), not MessagePack, has text that is
/// not UTF-8, or is above [`DEPTH_MAX`] or [`ITEMS_MAX`].
pub fn measure(bytes: &[u8]) -> Result<usize, LegacyError> {
    let mut walker = Walker {
        rest: bytes,
        items: 0,
    };
    walker.value(0)?;
    Ok(bytes.len() - walker.rest.len())
}

/// As [`measure`], for bytes that hold one value and nothing else.
pub(super) fn check_whole(bytes: &[u8]) -> Result<(), LegacyError> {
    match bytes.len() - measure(bytes)? {
        0 => Ok(()),
        rest => Err(LegacyError::Trailing(rest)),
    }
}

struct Walker<'a> {
    rest: &'a [u8],
    items: usize,
}

impl<'a> Walker<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], LegacyError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(LegacyError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A big-endian number of 1, 2, 4 or 8 bytes.
    fn length(&mut self, bytes: usize) -> Result<usize, LegacyError> {
        let number = self.take(bytes)?;
        Ok(number
            .iter()
            .fold(0, |sum, byte| (sum << 8) | usize::from(*byte)))
    }

    fn text(&mut self, len: usize) -> Result<(), LegacyError> {
        match std::str::from_utf8(self.take(len)?) {
            Ok(_) => Ok(()),
            Err(_) => Err(LegacyError::NotUtf8),
        }
    }

    fn skip(&mut self, len: usize) -> Result<(), LegacyError> {
        self.take(len).map(|_| ())
    }

    /// `count` values, one level deeper.
    fn values(&mut self, count: usize, depth: usize) -> Result<(), LegacyError> {
        if depth >= DEPTH_MAX {
            return Err(LegacyError::TooDeep);
        }
        if count > ITEMS_MAX {
            return Err(LegacyError::TooManyItems);
        }
        for _ in 0..count {
            self.value(depth + 1)?;
        }
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<(), LegacyError> {
        self.items += 1;
        if self.items > ITEMS_MAX {
            return Err(LegacyError::TooManyItems);
        }
        let marker = self.length(1)?;
        let low = |mask: usize| marker & mask;
        match marker {
            // Small numbers, nil, false, true.
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Ok(()),
            0x80..=0x8f => self.values(2 * low(0x0f), depth),
            0x90..=0x9f => self.values(low(0x0f), depth),
            0xa0..=0xbf => self.text(low(0x1f)),
            // bin, ext, str, array, map: their length takes 1, 2 or 4 bytes.
            0xc4..=0xc6 => self.length(1 << (marker - 0xc4)).and_then(|n| self.skip(n)),
            0xc7..=0xc9 => self
                .length(1 << (marker - 0xc7))
                .and_then(|n| self.skip(n.saturating_add(1))),
            0xd9..=0xdb => self.length(1 << (marker - 0xd9)).and_then(|n| self.text(n)),
            0xdc | 0xdd => self
                .length(2 << (marker - 0xdc))
                .and_then(|n| self.values(n, depth)),
            0xde | 0xdf => self
                .length(2 << (marker - 0xde))
                .and_then(|n| self.values(n.saturating_mul(2), depth)),
            // float32, float64, unsigned and signed numbers of 1 to 8 bytes.
            0xca => self.skip(4),
            0xcb => self.skip(8),
            0xcc..=0xcf => self.skip(1 << (marker - 0xcc)),
            0xd0..=0xd3 => self.skip(1 << (marker - 0xd0)),
            // ext of 1, 2, 4, 8 or 16 bytes, with its type.
            0xd4..=0xd8 => self.skip((1 << (marker - 0xd4)) + 1),
            // 0xc1 is used by nobody; larger numbers than 255 do not fit a byte.
            _ => Err(LegacyError::Malformed),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nested(depth: usize) -> Vec<u8> {
        let mut bytes = vec![0x91; depth];
        bytes.push(0xc0);
        bytes
    }

    #[test]
    fn depth_is_limited() {
        assert_eq!(measure(&nested(DEPTH_MAX)), Ok(DEPTH_MAX + 1));
        assert_eq!(measure(&nested(DEPTH_MAX + 1)), Err(LegacyError::TooDeep));
        assert_eq!(measure(&[0x91; 65_536]), Err(LegacyError::TooDeep));
    }

    #[test]
    fn the_number_of_values_is_limited_before_they_are_read() {
        let array = |count: u16| {
            let mut bytes = vec![0xdc];
            bytes.extend_from_slice(&count.to_be_bytes());
            bytes.resize(3 + usize::from(count), 0xc0);
            bytes
        };
        let most = ITEMS_MAX as u16 - 1;
        assert_eq!(measure(&array(most)), Ok(3 + usize::from(most)));
        assert_eq!(measure(&array(most + 1)), Err(LegacyError::TooManyItems));
        for bomb in [
            [0xdd, 0xff, 0xff, 0xff, 0xff],
            [0xdf, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(measure(&bomb), Err(LegacyError::TooManyItems));
        }
        // Many small ones in a few large ones.
        let mut bytes = vec![0x9f];
        (0..15).for_each(|_| bytes.extend(array(300)));
        assert_eq!(measure(&bytes), Err(LegacyError::TooManyItems));
    }

    #[test]
    fn lengths_that_lead_past_the_end_are_found() {
        for bytes in [
            &[][..],
            &[0xc6, 0xff, 0xff, 0xff, 0xff],
            &[0xc9, 0xff, 0xff, 0xff, 0xff, 1],
            &[0xdb, 0, 0, 0, 2, b'a'],
            &[0xcb, 0, 0],
            &[0x92, 1],
            &[0xd8, 0],
        ] {
            assert_eq!(measure(bytes), Err(LegacyError::Truncated), "{bytes:x?}");
        }
        assert_eq!(measure(&[0xc1]), Err(LegacyError::Malformed));
        assert_eq!(measure(&[0xa1, 0xff]), Err(LegacyError::NotUtf8));
        assert_eq!(check_whole(&[1, 2, 3]), Err(LegacyError::Trailing(2)));
    }

    proptest! {
        #[test]
        fn what_passes_is_what_a_full_decoder_reads(bytes: Vec<u8>) {
            let mut rest = bytes.as_slice();
            let decoded = rmpv::decode::read_value(&mut rest);
            match measure(&bytes) {
                Ok(len) => {
                    prop_assert!(decoded.is_ok());
                    prop_assert_eq!(len, bytes.len() - rest.len());
                }
                Err(LegacyError::Truncated) => prop_assert!(decoded.is_err()),
                Err(_) => {}
            }
        }
    }
}
