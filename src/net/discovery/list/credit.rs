//! How fast the list takes in what is heard.

use std::time::Instant;

/// Sightings that are taken at once, and how many more each second: a hall that opens its
/// computers together, and no flood.
pub(super) const SIGHTINGS_MAX: u32 = 512;
const SIGHTINGS_PER_SECOND: u32 = 32;

/// How many sightings are still taken: those of peers we know are counted apart, so that a flood
/// of strangers does not hide them.
#[derive(Debug)]
pub(super) struct Credit {
    strangers: u32,
    known: u32,
    since: Instant,
}

impl Credit {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            strangers: SIGHTINGS_MAX,
            known: SIGHTINGS_MAX,
            since: now,
        }
    }

    pub(super) fn take(&mut self, now: Instant, known: bool) -> bool {
        let seconds = now.saturating_duration_since(self.since).as_secs();
        if seconds > 0 {
            let more = u32::try_from(seconds).unwrap_or(u32::MAX);
            let more = more.saturating_mul(SIGHTINGS_PER_SECOND);
            for left in [&mut self.strangers, &mut self.known] {
                *left = left.saturating_add(more).min(SIGHTINGS_MAX);
            }
            self.since = now;
        }
        let left = match known {
            true => &mut self.known,
            false => &mut self.strangers,
        };
        let enough = *left > 0;
        *left = left.saturating_sub(1);
        enough
    }
}
