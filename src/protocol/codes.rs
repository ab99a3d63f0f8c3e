//! One-time codes that people say on the phone, such as `7-river-copper`, and what the streams
//! carry by which two peers prove to each other that they know the same one. See "A code" in
//! `README.md` beside this file.
//!
//! Behind a link, as in `peerconnect:…#7-river-copper`, a code needs nobody to look its number up.
//!
//! The number says behind which peer to look; it is no secret. The words are: whoever does not
//! know them has one guess, and the side that made the code counts.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::link_uri::{Link, LinkUriError};
use super::message::TransferId;
use super::pake::{Proof, Share};
use super::words::WORDS;

/// ALPN of peers that understand codes too, and everything that
/// [`super::sessions::ALPN_WILLS`] stands for.
pub const ALPN_CODES: &[u8] = b"peerconnect/1.4";

/// Largest number of a code; the smallest is 1.
pub const NUMBER_MAX: u16 = 9999;
/// How long a code is good, from when it was made on.
pub const CODE_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Least letters of a word that stand for it, if no other word begins so.
const PREFIX_MIN: usize = 3;
/// Between a link and the code behind it: what follows is for the one who opens it (RFC 3986,
/// section 3.5).
const BEHIND_LINK: char = '#';
/// Longest text that is looked at.
const TEXT_LEN_MAX: usize = 256;

/// A code. Not shown by `Debug`: whoever knows it gets the files.
#[derive(Clone, PartialEq, Eq)]
pub struct OneTimeCode {
    number: u16,
    words: [&'static str; 2],
}

impl OneTimeCode {
    /// The code with this number whose words are chosen by four random bytes.
    pub fn new(number: u16, random: [u8; 4]) -> Self {
        let bits = u32::from_be_bytes(random) as usize;
        let word = |bits: usize| WORDS.get(bits % WORDS.len()).copied().unwrap_or_default();
        Self {
            number,
            words: [word(bits / WORDS.len()), word(bits)],
        }
    }

    /// Behind which peer to look: no secret.
    pub fn number(&self) -> u16 {
        self.number
    }
}

impl fmt::Display for OneTimeCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, other] = self.words;
        write!(f, "{}-{one}-{other}", self.number)
    }
}

impl fmt::Debug for OneTimeCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OneTimeCode({}-..)", self.number)
    }
}

/// Why a text is no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCode {
    /// It has another form.
    #[error("a code is a number and two words, such as 7-river-copper")]
    Form,
    /// No code has this word; at most 32 characters of it.
    #[error("\"{0}\" is none of the words of codes")]
    Word(String),
    /// It stands behind a link that is none.
    #[error(transparent)]
    Link(#[from] LinkUriError),
}

impl FromStr for OneTimeCode {
    type Err = InvalidCode;

    /// As people type it: in upper or lower case, with whatever between the parts, and of each
    /// word at least so much that it can be no other.
    fn from_str(text: &str) -> Result<Self, InvalidCode> {
        if text.len() > TEXT_LEN_MAX {
            return Err(InvalidCode::Form);
        }
        let mut parts = text
            .split(|c: char| !c.is_alphanumeric())
            .filter(|part| !part.is_empty());
        let (Some(number), Some(one), Some(other), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidCode::Form);
        };
        let number: u16 = number.parse().map_err(|_| InvalidCode::Form)?;
        let is_word = |text: &str| text.chars().all(char::is_alphabetic);
        if !(1..=NUMBER_MAX).contains(&number) || !is_word(one) || !is_word(other) {
            return Err(InvalidCode::Form);
        }
        Ok(Self {
            number,
            words: [word(one)?, word(other)?],
        })
    }
}

/// A code as somebody has typed or pasted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedCode {
    /// Who has made it, and where he is, if it stands behind a link.
    pub link: Option<Link>,
    /// The code.
    pub code: OneTimeCode,
}

impl TypedCode {
    /// The text of a link that has this code behind it, good for once.
    pub fn one_time_link(link: &str, code: &str) -> String {
        format!("{link}{BEHIND_LINK}{code}")
    }
}

impl FromStr for TypedCode {
    type Err = InvalidCode;

    fn from_str(text: &str) -> Result<Self, InvalidCode> {
        match text.split_once(BEHIND_LINK) {
            Some((link, code)) if !link.trim().is_empty() => Ok(Self {
                link: Some(link.parse()?),
                code: code.parse()?,
            }),
            Some(_) | None => Ok(Self {
                link: None,
                code: text.parse()?,
            }),
        }
    }
}

impl fmt::Display for TypedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.link {
            Some(link) => f.write_str(&Self::one_time_link(
                &link.to_string(),
                &self.code.to_string(),
            )),
            None => self.code.fmt(f),
        }
    }
}

fn word(typed: &str) -> Result<&'static str, InvalidCode> {
    let typed = typed.to_lowercase();
    let exact = WORDS.iter().find(|word| **word == typed);
    if let Some(word) = exact {
        return Ok(word);
    }
    let mut begun = WORDS.iter().filter(|word| word.starts_with(&typed));
    match (begun.next(), begun.next()) {
        (Some(word), None) if typed.len() >= PREFIX_MIN => Ok(word),
        (Some(_) | None, _) => Err(InvalidCode::Word(typed.chars().take(32).collect())),
    }
}

/// First on the stream of a code, by the side where it was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeHead {
    /// The code's number.
    pub number: u16,
    /// Its half of the exchange.
    pub share: Share,
}

/// From the side where it was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CodeTyped {
    /// That it knows the words.
    Proof(Proof),
    /// The transfer may be offered: it will be taken.
    Ready,
}

/// From the side that made the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CodeMade {
    /// Its half of the exchange.
    Share(Share),
    /// That it knows the words, too, and the transfer that it will offer.
    Proof {
        /// Of the exchange.
        proof: Proof,
        /// What the code was made for.
        transfer: TransferId,
    },
    /// There is no such code, or the words are wrong.
    No,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<String, InvalidCode> {
        text.parse::<OneTimeCode>().map(|code| code.to_string())
    }

    #[test]
    fn a_code_is_understood_however_it_is_typed() {
        for text in [
            "7-river-copper",
            " 7 River COPPER\n",
            "07-river-copper",
            "7, river, copper.",
            "7--river  copper",
            "7-riv-copp",
        ] {
            assert_eq!(read(text).unwrap(), "7-river-copper", "{text:?}");
        }
    }

    #[test]
    fn what_could_be_another_code_is_none() {
        for text in [
            "",
            "7",
            "7-river",
            "river-copper",
            "7-river-copper-lake",
            "0-river-copper",
            "10000-river-copper",
            "99999999999-river-copper",
            "-7",
            "7river-copper",
            "7-8-9",
            "7-river-c0pper",
            "peerconnect:abc",
            "192.168.1.7",
        ] {
            assert_eq!(read(text), Err(InvalidCode::Form), "{text:?}");
        }
        // Several words begin so, or too little of it is there, or none does.
        for word in ["can", "ri", "rivers", "x"] {
            let text = format!("7-{word}-copper");
            assert_eq!(read(&text), Err(InvalidCode::Word(word.into())), "{text}");
        }
        assert_eq!(read(&"7-river-".repeat(100)), Err(InvalidCode::Form));
    }

    #[test]
    fn every_word_is_chosen_by_some_bytes_and_none_more_often() {
        let mut codes = HashSet::new();
        for bits in 0..1u32 << 18 {
            codes.insert(OneTimeCode::new(1, bits.to_be_bytes()).to_string());
        }
        assert_eq!(codes.len(), 1 << 18);
        // The bits above are not looked at twice.
        let all = OneTimeCode::new(1, [0xff; 4]).to_string();
        assert_eq!(all, "1-zero-zero");
    }

    #[test]
    fn words_are_not_shown_by_accident() {
        let code = OneTimeCode::new(7, [0; 4]);
        assert_eq!(format!("{code:?}"), "OneTimeCode(7-..)");
    }

    #[test]
    fn a_code_may_stand_behind_a_link() {
        let link = Link {
            id: crate::peer::PeerId::of_public_key(b"anna"),
            addrs: vec!["10.0.0.2:3485".parse().unwrap()],
            relays: Vec::new(),
        };
        let text = TypedCode::one_time_link(&link.to_string(), "7-river-copper");
        let typed: TypedCode = text.parse().unwrap();
        assert_eq!(typed.link, Some(link.clone()));
        assert_eq!(typed.to_string(), text);
        let spaced = format!(" {} \n", text.replace('#', " # "));
        assert_eq!(spaced.parse(), Ok(typed));
        let alone: TypedCode = "7 River copper".parse().unwrap();
        assert_eq!(
            (&alone.link, alone.to_string()),
            (&None, "7-river-copper".into())
        );
        for bad in [
            link.to_string(),
            format!("{link}#"),
            format!("{link}#7-river"),
            format!("{link}#7-river-copper#7-river-copper"),
            "peerconnect:abc#7-river-copper".into(),
        ] {
            assert!(bad.parse::<TypedCode>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_typed_code_panic(text in ".{0,300}", link in ".{0,40}") {
            let _ = text.parse::<TypedCode>();
            let _ = format!("peerconnect:{link}#{text}").parse::<TypedCode>();
        }

        #[test]
        fn codes_round_trip_as_text(number in 1..=NUMBER_MAX, random: [u8; 4]) {
            let code = OneTimeCode::new(number, random);
            prop_assert_eq!(code.to_string().parse(), Ok(code));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,300}") {
            if let Ok(code) = text.parse::<OneTimeCode>() {
                prop_assert_eq!(code.to_string().parse(), Ok(code));
            }
        }
    }
}
