//! Text for people: sizes, durations, and names that come from elsewhere.

use std::fmt;

use jiff::tz::TimeZone;

/// Text from a peer or a file system, made safe for a terminal, a window or a log: characters that
/// control, hide or reorder what is shown are escaped. What joins pictures to one, and what joins
/// or parts letters where a script is spelled with it, stays where it belongs.
#[derive(Clone, Copy)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let mut before = Before::default();
        let mut letters = self.0.chars().peekable();
        while let Some(c) = letters.next() {
            if is_deceptive(c) && !joins(c, before, letters.peek().copied()) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
            before.pass(c);
        }
        Ok(())
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// As [`Shown`], for a text of several lines: its line ends and tabs stay.
#[derive(Clone, Copy)]
pub struct ShownText<'a>(pub &'a str);

impl fmt::Display for ShownText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for (n, line) in self.0.split('\n').enumerate() {
            if n > 0 {
                f.write_char('\n')?;
            }
            // As other systems end lines.
            let line = line.strip_suffix('\r').unwrap_or(line);
            for (n, part) in line.split('\t').enumerate() {
                if n > 0 {
                    f.write_char('\t')?;
                }
                write!(f, "{}", Shown(part))?;
            }
        }
        Ok(())
    }
}

/// Whether a character controls the terminal, is invisible, or changes the order of others,
/// wherever it stands.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// What stands before a character.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    last: Option<char>,
    /// The last one that is not a variation of the one before it.
    base: Option<char>,
}

impl Before {
    fn pass(&mut self, c: char) {
        self.last = Some(c);
        // How an emoji looks, and the colour of its skin.
        if !matches!(c, '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}') {
            self.base = Some(c);
        }
    }
}

/// Whether an invisible character belongs where it stands: it makes one picture of two, or joins
/// or parts two letters of a script whose words are spelled with it.
fn joins(c: char, before: Before, after: Option<char>) -> bool {
    let between =
        |is: fn(char) -> bool, left: Option<char>| left.is_some_and(is) && after.is_some_and(is);
    let letters = || {
        let scripts = before
            .last
            .and_then(joining_script)
            .zip(after.and_then(joining_script));
        scripts.is_some_and(|(left, right)| left == right) && after.is_some_and(char::is_alphabetic)
    };
    match c {
        '\u{200c}' => letters(),
        '\u{200d}' => letters() || between(is_pictograph, before.base),
        _ => false,
    }
}

/// The script of a letter or of a mark on one, of those that use U+200C and U+200D between
/// letters: Arabic, and each of the Indic ones (they have a block of 128 characters each).
fn joining_script(c: char) -> Option<u32> {
    const ARABIC: u32 = 0;
    // Those that end the vowel of a letter are no letters themselves.
    let virama = matches!(
        c,
        '\u{94d}'
            | '\u{9cd}'
            | '\u{a4d}'
            | '\u{acd}'
            | '\u{b4d}'
            | '\u{bcd}'
            | '\u{c4d}'
            | '\u{ccd}'
            | '\u{d3b}'
            | '\u{d3c}'
            | '\u{d4d}'
            | '\u{dca}'
    );
    match c {
        c if !c.is_alphabetic() && !virama => None,
        '\u{600}'..='\u{6ff}' | '\u{750}'..='\u{77f}' | '\u{870}'..='\u{8ff}' => Some(ARABIC),
        '\u{900}'..='\u{dff}' => Some(u32::from(c) / 128),
        _ => None,
    }
}

/// Whether it is one of the signs that pictures are made of: people, animals, things, arrows.
fn is_pictograph(c: char) -> bool {
    matches!(c,
        '\u{2190}'..='\u{21ff}' | '\u{2600}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}'
        | '\u{1f000}'..='\u{1faff}')
}

/// A size in decimal units with about three digits: `734 MB`, `1.20 GB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1000.0;
    let mut unit = 0;
    // 999.5 would be printed as four digits.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A duration in the largest one or two units: `4 s`, `2 min 5 s`, `3 h 12 min`.
pub fn duration(seconds: u64) -> String {
    let (d, h, m, s) = (
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    match (d, h, m, s) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, 0) => format!("{m} min"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, 0, _) => format!("{h} h"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, 0, _, _) => format!("{d} d"),
        (d, h, _, _) => format!("{d} d {h} h"),
    }
}

/// A moment (seconds since 1970) as people say it, where this computer is: `today 14:03`,
/// `yesterday 09:15`, `tomorrow 10:20`, `3 May`, `3 May 2024`.
pub fn day(at: i64, now: u64) -> String {
    day_in(at, now, &TimeZone::system())
}

fn day_in(at: i64, now: u64, zone: &TimeZone) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "March", "April", "May", "June", "July", "Aug", "Sept", "Oct", "Nov", "Dec",
    ];
    let local = |seconds| {
        let moment = jiff::Timestamp::from_second(seconds).ok()?;
        Some(zone.to_datetime(moment))
    };
    let now = i64::try_from(now).ok().and_then(local);
    let (Some(at), Some(now)) = (local(at), now) else {
        return "at no known time".into();
    };
    let (day, time) = (at.date(), format!("{:02}:{:02}", at.hour(), at.minute()));
    let month = MONTHS[(at.month() - 1) as usize];
    match now.date() {
        today if day == today => format!("today {time}"),
        today if today.yesterday().is_ok_and(|yesterday| yesterday == day) => {
            format!("yesterday {time}")
        }
        today if today.tomorrow().is_ok_and(|tomorrow| tomorrow == day) => {
            format!("tomorrow {time}")
        }
        today if day.year() == today.year() => format!("{} {month}", day.day()),
        _ => format!("{} {month} {}", day.day(), day.year()),
    }
}

/// `1 file`, `2 files`.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Paths as text in messages between our own processes: what is UTF-8 stays as it is; other
/// names, which Unix allows, are written as NUL and hexadecimal digits (no path contains NUL).
/// For `#[serde(with = "crate::text::path")]`.
pub mod path {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn to_text(path: &Path) -> String {
        match path.to_str() {
            Some(text) => text.to_owned(),
            None => {
                let bytes = path.as_os_str().as_encoded_bytes();
                format!("\0{}", data_encoding::HEXLOWER.encode(bytes))
            }
        }
    }

    pub(super) fn from_text(text: String) -> Result<PathBuf, &'static str> {
        let Some(digits) = text.strip_prefix('\0') else {
            return Ok(text.into());
        };
        let bytes = data_encoding::HEXLOWER
            .decode(digits.as_bytes())
            .map_err(|_| "not a path")?;
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStringExt;
            Ok(std::ffi::OsString::from_vec(bytes).into())
        }
        #[cfg(not(unix))]
        String::from_utf8(bytes)
            .map(PathBuf::from)
            .map_err(|_| "not a path")
    }

    /// Writes a path.
    pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&to_text(path))
    }

    /// Reads a path.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        from_text(String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// As [`path`], for `Option<PathBuf>`.
pub mod path_option {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes a path or none.
    pub fn serialize<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
        path.as_deref().map(super::path::to_text).serialize(to)
    }

    /// Reads a path or none.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
        Option::<String>::deserialize(from)?
            .map(super::path::from_text)
            .transpose()
            .map_err(serde::de::Error::custom)
    }
}

/// As [`path`], for lists of paths.
pub mod paths {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes paths.
    pub fn serialize<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(paths.iter().map(|path| super::path::to_text(path)))
    }

    /// Reads paths.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
        Vec::<String>::deserialize(from)?
            .into_iter()
            .map(super::path::from_text)
            .collect::<Result<_, _>>()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn paths_that_are_not_utf8_survive_as_text() {
        use std::os::unix::ffi::OsStringExt;
        for bytes in [&b"/a/\xff\xfe.txt"[..], b"/a/\xc3\xa9", b"", b"\\0x"] {
            let path = std::path::PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()));
            assert_eq!(path::from_text(path::to_text(&path)), Ok(path));
        }
        assert_eq!(path::to_text("/a/b".as_ref()), "/a/b");
        assert!(path::from_text("\0xyz".into()).is_err());
    }

    #[test]
    fn days_are_said_as_people_say_them_where_they_are() {
        // 2027-01-15 08:00 UTC; one hour later where this person is.
        const NOW: u64 = 1_800_000_000;
        const HOUR: i64 = 3600;
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        for (at, text) in [
            (0, "today 09:00"),
            (-9 * HOUR, "today 00:00"),
            (-9 * HOUR - 60, "yesterday 23:59"),
            (-40 * HOUR, "13 Jan"),
            (-400 * HOUR, "29 Dec 2026"),
            (24 * HOUR, "tomorrow 09:00"),
            (48 * HOUR, "17 Jan"),
            (i64::MAX - NOW as i64, "at no known time"),
        ] {
            let at = NOW as i64 + at;
            assert_eq!(day_in(at, NOW, &zone), text, "{at}");
        }
        assert_eq!(day_in(-1, NOW, &zone), "1 Jan 1970");
    }

    #[test]
    fn sizes_are_decimal_and_short() {
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (9_996, "10.0 kB"),
            (734_003_200, "734 MB"),
            (999_499_999, "999 MB"),
            (999_500_000, "1.00 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(n), text, "{n}");
        }
    }

    #[test]
    fn durations_use_two_units_at_most() {
        for (s, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (125, "2 min 5 s"),
            (300, "5 min"),
            (11_520, "3 h 12 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(s), text, "{s}");
        }
    }

    #[test]
    fn texts_keep_their_lines_and_tabs_and_nothing_else_that_controls() {
        let text = "a\tb\r\nc\rd\u{1b}[2J\n\n\u{202e}é";
        let shown = "a\tb\nc\\u{d}d\\u{1b}[2J\n\n\\u{202e}é";
        assert_eq!(ShownText(text).to_string(), shown);
    }

    #[test]
    fn deceptive_characters_are_escaped_and_ordinary_ones_are_not() {
        assert_eq!(
            Shown("photo\u{202e}gpj.exe").to_string(),
            "photo\\u{202e}gpj.exe"
        );
        assert_eq!(
            Shown("two\nlines\u{1b}[2J").to_string(),
            "two\\u{a}lines\\u{1b}[2J"
        );
        assert_eq!(Shown("照片 é.jpg (1) 🎉").to_string(), "照片 é.jpg (1) 🎉");
    }

    #[test]
    fn joiners_stay_where_words_and_pictures_are_made_with_them() {
        for text in [
            "👨\u{200d}👩\u{200d}👧.png",
            "👩🏽\u{200d}💻 ❤\u{fe0f}\u{200d}🔥 🏳\u{fe0f}\u{200d}🌈",
            "می\u{200c}خواهم.pdf",
            "क्\u{200d}ष क्\u{200c}ष",
        ] {
            assert_eq!(Shown(text).to_string(), text);
        }
        for text in [
            "pay\u{200d}pal",
            "a\u{200c}b",
            "\u{200d}👧",
            "👨\u{200d}",
            "👨\u{200c}👩",
            "👨\u{200d}a",
            "می\u{200c}\u{200c}خواهم",
            "می\u{200c}.pdf",
            "\u{200c}می",
            "م\u{200d}क",
            "क\u{200d}ক",
            "می\u{200b}خواهم",
            "1\u{200c}2",
            "١\u{200c}ا",
            "क\u{200c}\u{94d}",
        ] {
            let shown = Shown(text).to_string();
            assert!(shown.contains("\\u{200"), "{text} {shown}");
            assert!(!shown.chars().any(is_deceptive), "{text} {shown}");
        }
    }
}
