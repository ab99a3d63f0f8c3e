//! The three words that two people compare to know that nobody sits between them.
//!
//! Both sides compute them from the two ids and two nonces. The caller commits to its nonce before
//! it learns the other one, so whoever sits in the middle gets one guess per connection attempt
//! that a person watches: 1 in 2^27. Without the commitment the words could be ground offline.

use super::groups::Hash;
use crate::peer::PeerId;

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 16;

/// Derivation contexts of BLAKE3: never the same for two purposes.
const WORDS_CONTEXT: &str = "peerconnect/1 three words of a connection";
const COMMITMENT_CONTEXT: &str = "peerconnect/1 commitment to a nonce";

/// What a caller says first about the nonce that it will reveal later.
pub fn commitment(nonce: &[u8; NONCE_LEN]) -> Hash {
    blake3::derive_key(COMMITMENT_CONTEXT, nonce)
}

/// The words of a connection, such as `river copper nine`: the same on both sides, whichever
/// called. Each side is given with its id and its nonce.
pub fn words(one: (PeerId, &[u8; NONCE_LEN]), other: (PeerId, &[u8; NONCE_LEN])) -> String {
    let (first, second) = if one <= other {
        (one, other)
    } else {
        (other, one)
    };
    let mut hasher = blake3::Hasher::new_derive_key(WORDS_CONTEXT);
    for (id, nonce) in [first, second] {
        hasher.update(id.as_bytes());
        hasher.update(nonce);
    }
    let hash = hasher.finalize();
    let [a, b, c, d, ..] = *hash.as_bytes();
    let bits = u32::from_be_bytes([a, b, c, d]);
    let word = |shift: u32| WORDS[(bits >> shift) as usize % WORDS.len()];
    format!("{} {} {}", word(23), word(14), word(5))
}

/// Short words that are easy to say, hear and tell apart: no two differ in one letter only.
#[rustfmt::skip]
pub(super) const WORDS: [&str; 512] = [
    "acid", "actor", "adult", "agent", "alarm", "album", "alley", "almond", "amber", "anchor",
    "angel", "ankle", "apple", "apron", "arch", "arena", "arrow", "ash", "atlas", "attic", "autumn",
    "bacon", "badge", "bagel", "baker", "bamboo", "banjo", "banner", "barn", "basil", "basket",
    "beach", "beard", "beaver", "beetle", "belt", "bicycle", "bird", "biscuit", "bison", "blanket",
    "blossom", "boat", "bonfire", "bottle", "boulder", "bowl", "bracelet", "brain", "branch",
    "bread", "brick", "bridge", "broom", "brother", "brush", "bubble", "bucket", "buffalo", "bunny",
    "bus", "butter", "button", "cabbage", "cabin", "cactus", "camel", "camera", "camp", "canal",
    "candle", "candy", "cannon", "canoe", "canvas", "captain", "caravan", "carbon", "carpet",
    "carrot", "castle", "cedar", "celery", "cello", "chair", "chalk", "cherry", "chess", "chicken",
    "chimney", "cinema", "circle", "circus", "citrus", "city", "clay", "cliff", "clock", "cloud",
    "clover", "coach", "cobra", "cocoa", "coconut", "coffee", "coin", "collar", "comedy", "comet",
    "compass", "copper", "coral", "cosmos", "cottage", "cotton", "cousin", "cow", "cowboy", "crab",
    "cradle", "crane", "crater", "crayon", "cricket", "crown", "crystal", "cup", "cupboard",
    "curtain", "cushion", "daisy", "dancer", "dawn", "deer", "dentist", "desert", "desk", "diamond",
    "diary", "diesel", "dinner", "dinosaur", "doctor", "dog", "doll", "dolphin", "donkey", "door",
    "dragon", "drawer", "dream", "drum", "duck", "dust", "eagle", "earth", "easel", "echo",
    "eclipse", "egg", "eight", "elbow", "elder", "elephant", "eleven", "elm", "emerald", "engine",
    "envelope", "evening", "fabric", "falcon", "farm", "feather", "fern", "ferry", "fiddle",
    "field", "fig", "finger", "fish", "five", "flag", "flame", "flute", "forest", "fork", "fossil",
    "fountain", "fox", "frog", "frost", "fruit", "galaxy", "garage", "garden", "garlic", "gate",
    "ghost", "giant", "ginseng", "giraffe", "glacier", "glove", "gold", "goose", "gorilla", "grape",
    "grass", "gravel", "green", "grill", "guitar", "gull", "hammer", "hammock", "harbor", "harp",
    "harvest", "hat", "hawk", "hazel", "heart", "hedge", "helium", "helmet", "herb", "hill",
    "hinge", "hockey", "honey", "horizon", "hotel", "house", "hundred", "hunter", "ice", "igloo",
    "indigo", "ink", "insect", "iron", "island", "ivory", "ivy", "jacket", "jaguar", "jar",
    "jasmine", "jelly", "jewel", "jigsaw", "judge", "jumper", "jungle", "jury", "kayak", "kernel",
    "kettle", "key", "king", "kitchen", "kite", "kitten", "koala", "ladder", "lady", "lagoon",
    "lake", "lantern", "laptop", "lava", "leaf", "lemon", "lemonade", "lentil", "leopard", "letter",
    "library", "lily", "lime", "lion", "lobster", "lunch", "magic", "magnet", "mango", "manual",
    "maple", "marble", "market", "mask", "meadow", "melon", "mercury", "metal", "meteor", "milk",
    "mint", "mirage", "mirror", "modern", "moon", "morning", "moss", "motor", "muffin", "museum",
    "mushroom", "napkin", "nectar", "needle", "nephew", "nest", "nine", "north", "notebook",
    "novel", "nugget", "nurse", "nut", "oak", "oasis", "oats", "ocean", "octopus", "office",
    "olive", "onion", "opera", "orange", "orbit", "orchard", "orchid", "otter", "oven", "oxygen",
    "oyster", "palace", "palm", "panda", "panther", "paper", "parade", "parcel", "park", "pasta",
    "pastry", "patrol", "peacock", "peanut", "pearl", "pebble", "pelican", "pencil", "penguin",
    "pepper", "photo", "piano", "picnic", "pigeon", "pillow", "pilot", "pirate", "pizza", "planet",
    "plaza", "plum", "poem", "polar", "pony", "poppy", "potato", "prairie", "prince", "prism",
    "prize", "puddle", "pumpkin", "puppet", "purple", "puzzle", "pyramid", "quail", "quarry",
    "queen", "quilt", "rabbit", "raccoon", "radar", "radio", "radish", "raft", "raven", "razor",
    "ribbon", "river", "robin", "robot", "roof", "rose", "ruby", "rug", "saffron", "sail", "salad",
    "salmon", "salt", "sand", "satin", "sauce", "scarf", "school", "scooter", "seal", "seven",
    "shadow", "shark", "sheep", "shell", "shield", "ship", "shoe", "silver", "sister", "skate",
    "sky", "sled", "slipper", "smoke", "snow", "soap", "soccer", "socket", "sofa", "soldier",
    "spider", "spinach", "spoon", "spring", "squid", "stable", "star", "statue", "steam", "stone",
    "storm", "straw", "street", "sugar", "summer", "sun", "swan", "sweater", "sword", "tailor",
    "teacher", "temple", "tennis", "tent", "theater", "thimble", "thorn", "thunder", "ticket",
    "tiger", "timber", "toast", "tomato", "tooth", "torch", "tower", "toy", "tractor", "treasure",
    "tree", "triangle", "trophy", "truck", "trumpet", "tulip", "tunnel", "turkey", "turtle",
    "twelve", "umbrella", "uncle", "vanilla", "velvet", "village", "violet", "violin", "volcano",
    "waffle", "wagon", "walnut", "walrus", "water", "whale", "wheat", "wheel", "whistle", "window",
    "winter", "wizard", "wolf", "wood", "yacht", "yellow", "yogurt", "zebra", "zero",
];

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_list_is_made_of_distinct_short_plain_words() {
        let distinct: HashSet<_> = WORDS.iter().collect();
        assert_eq!(distinct.len(), WORDS.len());
        for word in WORDS {
            assert!((3..=8).contains(&word.len()), "{word}");
            assert!(word.bytes().all(|b| b.is_ascii_lowercase()), "{word}");
        }
    }

    #[test]
    fn no_two_words_differ_in_one_letter_only() {
        let alike = |a: &str, b: &str| {
            a.len() == b.len() && a.bytes().zip(b.bytes()).filter(|(x, y)| x != y).count() == 1
        };
        for (i, a) in WORDS.iter().enumerate() {
            for b in &WORDS[i + 1..] {
                assert!(!alike(a, b), "{a} and {b}");
            }
        }
    }

    #[test]
    fn both_sides_get_the_same_words_and_every_input_counts() {
        let (a, b) = (PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32]));
        let (n, m) = ([3; NONCE_LEN], [4; NONCE_LEN]);
        let ours = words((a, &n), (b, &m));
        assert_eq!(ours, words((b, &m), (a, &n)));
        assert_eq!(ours.split(' ').count(), 3);
        let others = [
            words((a, &m), (b, &n)),
            words((a, &n), (b, &n)),
            words((a, &n), (PeerId::from_bytes([5; 32]), &m)),
        ];
        assert!(others.iter().all(|other| *other != ours), "{others:?}");
    }

    #[test]
    fn a_commitment_is_not_a_plain_hash() {
        let nonce = [7; NONCE_LEN];
        assert_ne!(commitment(&nonce), *blake3::hash(&nonce).as_bytes());
        assert_ne!(commitment(&nonce), commitment(&[8; NONCE_LEN]));
    }
}
