//! Names and texts in scripts that are written from right to left. egui paints what it is given
//! from left to right, in pieces of one font each, and turns no more than the letters of a piece:
//! an Arabic word is right, two words of one name stand in the wrong order. Here a line is put
//! into the order in which it is painted (UAX #9). Only painting needs that: names for screen
//! readers, and whatever is copied, keep the order in which people read and type.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use egui::text::{LayoutJob, TextFormat};
use egui::{FontSelection, Label, Response, Role, Ui, WidgetInfo, WidgetText};
use peerconnect::text::Shown;
use unicode_bidi::{BidiClass, BidiInfo, Direction, Level, bidi_class, get_base_direction};

/// Sets what follows apart from what stands around it (LRI), and the end of that (PDI).
const APART: char = '\u{2066}';
const APART_END: char = '\u{2069}';

/// A name from elsewhere in a sentence of ours: safe as [`Shown`] is, and set apart, so that the
/// order of the words and numbers around it does not depend on its letters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Apart<'a>(pub(crate) &'a str);

impl fmt::Display for Apart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = Shown(self.0);
        match turns(self.0) {
            true => write!(f, "{APART}{shown}{APART_END}"),
            false => write!(f, "{shown}"),
        }
    }
}

/// Without what sets names apart: for screen readers.
pub(crate) fn read(text: &str) -> Cow<'_, str> {
    match turns(text) {
        true => Cow::Owned(text.replace([APART, APART_END], "")),
        false => Cow::Borrowed(text),
    }
}

/// Whether any of it is written from right to left.
pub(crate) fn turns(text: &str) -> bool {
    // The first of these letters begins with this byte in UTF-8; most names have none.
    text.bytes().any(|byte| byte >= 0xd6) && text.chars().any(is_turned)
}

/// Whether it belongs to a script that is written from right to left. The built-in fonts have
/// none of these letters: they are pieces of their own.
fn is_turned(c: char) -> bool {
    matches!(c,
        '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}'
        | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

/// Whether a piece with it is turned when it is painted; digits and some marks are not enough.
fn is_letter(c: char) -> bool {
    let common = matches!(c, '\u{61b}' | '\u{61f}' | '\u{640}');
    matches!(bidi_class(c), BidiClass::R | BidiClass::AL) && !common
}

/// A line in the order in which it is painted, as one string. Lines are those of a window in
/// English: they begin at the left, whatever the letters are, so that an extension stays at the
/// end of its name.
pub(crate) fn visual(line: &str) -> Cow<'_, str> {
    match turns(line) {
        true => Cow::Owned(pieces(line, Level::ltr()).concat()),
        false => Cow::Borrowed(line),
    }
}

/// The pieces of a line from left to right. What is turned when it is painted is a piece.
fn pieces(line: &str, base: Level) -> Vec<String> {
    let info = BidiInfo::new(line, Some(base));
    let mut pieces: Vec<(bool, Vec<String>)> = Vec::new();
    for paragraph in &info.paragraphs {
        let (levels, runs) = info.visual_runs(paragraph, paragraph.range.clone());
        for run in runs {
            let level = levels.get(run.start).copied().unwrap_or(base);
            for letter in letters(line.get(run).unwrap_or_default(), level) {
                let turned = letter.starts_with(is_turned);
                match pieces.last_mut() {
                    Some((same, piece)) if *same == turned => piece.push(letter),
                    Some(_) | None => pieces.push((turned, vec![letter])),
                }
            }
        }
    }
    let painted = pieces.into_iter().map(|(turned, mut letters)| {
        if turned && letters.iter().any(|letter| letter.chars().any(is_letter)) {
            letters.reverse();
        }
        letters.concat()
    });
    painted.collect()
}

/// The letters of a run from left to right, each with the marks on it.
fn letters(run: &str, level: Level) -> Vec<String> {
    let mut letters: Vec<String> = Vec::new();
    for c in run.chars().filter(|c| !matches!(*c, APART | APART_END)) {
        let c = if level.is_rtl() { mirrored(c) } else { c };
        let on_last = bidi_class(c) == BidiClass::NSM || matches!(c, '\u{200c}' | '\u{200d}');
        match letters.last_mut() {
            Some(last) if on_last => last.push(c),
            Some(_) | None => letters.push(c.into()),
        }
    }
    if level.is_rtl() {
        letters.reverse();
    }
    letters
}

/// What a bracket looks like between letters that are written from right to left.
fn mirrored(c: char) -> char {
    const PAIRS: [(char, char); 12] = [
        ('(', ')'),
        ('[', ']'),
        ('{', '}'),
        ('<', '>'),
        ('«', '»'),
        ('‹', '›'),
        ('≤', '≥'),
        ('⟨', '⟩'),
        ('⁅', '⁆'),
        ('「', '」'),
        ('『', '』'),
        ('【', '】'),
    ];
    let mut pairs = PAIRS.iter();
    let other = pairs.find_map(|(open, close)| match c {
        c if c == *open => Some(*close),
        c if c == *close => Some(*open),
        _ => None,
    });
    other.unwrap_or(c)
}

/// Text whose parts look differently, in the order in which it is read.
struct Text {
    /// Each with the number of its part.
    letters: Vec<(char, usize)>,
    /// How the parts look, and the room before them.
    looks: Vec<(TextFormat, f32)>,
}

impl Text {
    fn of(job: &LayoutJob) -> Self {
        let mut text = Self {
            letters: Vec::new(),
            looks: Vec::new(),
        };
        for (n, section) in job.sections.iter().enumerate() {
            let (start, end) = (section.byte_range.start.0, section.byte_range.end.0);
            let part = job.text.get(start..end).unwrap_or_default();
            text.letters.extend(part.chars().map(|c| (c, n)));
            let look = (section.format.clone(), section.leading_space);
            text.looks.push(look);
        }
        text
    }

    /// Adds some of it to a line as it is painted. Each piece has a section of its own: it is
    /// turned alone. A mark stands at the end of what is cut.
    fn paint(&self, job: &mut LayoutJob, some: Range<usize>, base: Level, is_cut: bool) {
        let begins = |n: usize| {
            let part = self.letters.get(n).map(|(_, part)| part);
            n == 0 || self.letters.get(n - 1).map(|(_, part)| part) != part
        };
        let begin = some.start;
        let letters = self.letters.get(some).unwrap_or_default();
        let mut done = 0;
        for part in letters.chunk_by(|(_, one), (_, other)| one == other) {
            let mut text: String = part.iter().map(|(c, _)| c).collect();
            let look = part.first().and_then(|(_, n)| self.looks.get(*n));
            let Some((format, space)) = look else { return };
            let mut space = if begins(begin + done) { *space } else { 0.0 };
            done += part.len();
            if is_cut && done == letters.len() {
                // A name that was set apart ends before the mark.
                text.push(APART_END);
                text.push('…');
            }
            for piece in pieces(&text, base) {
                job.append(&piece, space, format.clone());
                space = 0.0;
            }
        }
    }

    /// The beginning of it as a line.
    fn line(&self, letters: usize) -> LayoutJob {
        let mut job = LayoutJob::default();
        let is_cut = letters < self.letters.len();
        self.paint(&mut job, 0..letters, Level::ltr(), is_cut);
        job
    }

    /// How wide some of it is.
    fn width(&self, ui: &Ui, some: Range<usize>) -> f32 {
        let mut job = LayoutJob::default();
        self.paint(&mut job, some, Level::ltr(), false);
        width(ui, job)
    }

    /// The lines that it needs, none of them wider: where each begins and ends, and whether a
    /// paragraph ends with it.
    fn lines(&self, ui: &Ui, most: f32) -> Vec<(Range<usize>, bool)> {
        let mut lines = Vec::new();
        let (mut begin, mut used) = (0, 0.0);
        for unit in self.units(ui, most) {
            let last = self.letters.get(unit.end - 1).map_or(' ', |(c, _)| *c);
            let blank = usize::from(matches!(last, ' ' | '\n'));
            let visible = self.width(ui, unit.start..unit.end - blank);
            if used + visible > most && unit.start > begin {
                lines.push((begin..unit.start, false));
                (begin, used) = (unit.start, 0.0);
            }
            if last == '\n' {
                lines.push((begin..unit.end - 1, true));
                (begin, used) = (unit.end, 0.0);
            } else {
                used += self.width(ui, unit);
            }
        }
        lines.push((begin..self.letters.len(), false));
        lines
    }

    /// What is not parted at the end of a line: words, each with the blank behind it; the letters
    /// of one that is wider than a line.
    fn units(&self, ui: &Ui, most: f32) -> Vec<Range<usize>> {
        let mut units = Vec::new();
        let mut begin = 0;
        for word in self
            .letters
            .split_inclusive(|(c, _)| matches!(c, ' ' | '\n'))
        {
            let end = begin + word.len();
            match self.width(ui, begin..end) > most {
                true => units.extend((begin..end).map(|n| n..n + 1)),
                false => units.push(begin..end),
            }
            begin = end;
        }
        units
    }
}

fn width(ui: &Ui, job: LayoutJob) -> f32 {
    ui.fonts_mut(|fonts| fonts.layout_job(job)).size().x
}

/// A line as it is painted, cut at its end where it is wider than this; whether it was.
fn fitted(ui: &Ui, text: &Text, most: f32) -> (LayoutJob, bool) {
    let all = text.letters.len();
    let fits = |letters: usize| width(ui, text.line(letters)) <= most;
    if fits(all) {
        return (text.line(all), false);
    }
    // The first letter stays, whatever room there is.
    let (mut least, mut too_many) = (1, all.max(1));
    while too_many - least > 1 {
        let middle = least + (too_many - least) / 2;
        match fits(middle) {
            true => least = middle,
            false => too_many = middle,
        }
    }
    (text.line(least), true)
}

/// Labels for text of any script. Their names for screen readers are the text as it is read.
pub(crate) trait AnyScript {
    /// A label of one line: as much of the text as there is room for.
    fn line(&mut self, text: impl Into<WidgetText>) -> Response;
    /// A label of as many lines as the text needs.
    fn lines(&mut self, text: impl Into<WidgetText>) -> Response;
    /// As [`Self::lines`], for text that can be selected where it is painted as it is read.
    fn selectable_lines(&mut self, text: impl Into<WidgetText>) -> Response;
    /// A text of somebody else: each of its paragraphs runs as its first letter does.
    fn message(&mut self, text: impl Into<WidgetText>) -> Response;
}

impl AnyScript for Ui {
    fn line(&mut self, text: impl Into<WidgetText>) -> Response {
        one_line(self, text.into())
    }

    fn lines(&mut self, text: impl Into<WidgetText>) -> Response {
        wrapped(self, text.into(), Paragraphs::Ours, false)
    }

    fn selectable_lines(&mut self, text: impl Into<WidgetText>) -> Response {
        wrapped(self, text.into(), Paragraphs::Ours, true)
    }

    fn message(&mut self, text: impl Into<WidgetText>) -> Response {
        wrapped(self, text.into(), Paragraphs::Theirs, true)
    }
}

fn one_line(ui: &mut Ui, text: WidgetText) -> Response {
    if !turns(text.text()) {
        return ui.add(Label::new(text).truncate());
    }
    let (job, whole) = job_of(ui, text);
    let (painted, is_cut) = fitted(ui, &Text::of(&job), ui.available_width());
    let response = label(ui, painted, &whole);
    match is_cut {
        true => response.on_hover_ui(|ui| drop(ui.lines(whole.as_str()))),
        false => response,
    }
}

/// Which way paragraphs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paragraphs {
    /// From left to right, as everything in the window.
    Ours,
    /// As their first letter does.
    Theirs,
}

impl Paragraphs {
    fn base(self, text: &str) -> Level {
        match (self, get_base_direction(text)) {
            (Self::Theirs, Direction::Rtl) => Level::rtl(),
            (Self::Ours | Self::Theirs, _) => Level::ltr(),
        }
    }
}

fn wrapped(ui: &mut Ui, text: WidgetText, paragraphs: Paragraphs, selectable: bool) -> Response {
    if !turns(text.text()) {
        return ui.add(Label::new(text).wrap().selectable(selectable));
    }
    let (mut job, whole) = job_of(ui, text);
    job.wrap.max_width = ui.available_width();
    // Kept until it changes: a text may be long, and is drawn in each frame.
    let place = ui.next_auto_id().with("painted");
    let key = egui::util::hash(&job);
    let known = ui.data(|data| data.get_temp::<(u64, Arc<LayoutJob>)>(place));
    let painted = match known.filter(|(of, _)| *of == key) {
        Some((_, painted)) => painted,
        None => {
            let painted = Arc::new(in_lines(ui, &job, paragraphs));
            ui.data_mut(|data| data.insert_temp(place, (key, Arc::clone(&painted))));
            painted
        }
    };
    label(ui, painted, &whole)
}

/// Wrapped as it is read, then each line as it is painted.
fn in_lines(ui: &Ui, job: &LayoutJob, paragraphs: Paragraphs) -> LayoutJob {
    let text = Text::of(job);
    let mut rest = job.text.split('\n');
    let mut base = paragraphs.base(rest.next().unwrap_or_default());
    let mut painted = LayoutJob::default();
    for (n, (line, ends)) in text.lines(ui, job.wrap.max_width).into_iter().enumerate() {
        if let (true, Some((format, _))) = (n > 0, text.looks.first()) {
            painted.append("\n", 0.0, format.clone());
        }
        text.paint(&mut painted, line, base, false);
        if ends {
            base = paragraphs.base(rest.next().unwrap_or_default());
        }
    }
    painted
}

/// What egui would lay out, and its text.
fn job_of(ui: &Ui, text: WidgetText) -> (LayoutJob, String) {
    let job = text.into_layout_job(ui.style(), FontSelection::Default, ui.text_valign());
    let job = LayoutJob::clone(&job);
    let text = job.text.clone();
    (job, text)
}

/// A label that is painted as it stands, and read as `text`. Nothing of it can be selected: that
/// would be copied in the order in which it is painted.
fn label(ui: &mut Ui, painted: impl Into<WidgetText>, text: &str) -> Response {
    let response = ui.add(Label::new(painted).extend().selectable(false));
    let enabled = ui.is_enabled();
    response.widget_info(|| WidgetInfo::labeled(Role::Label, enabled, read(text)));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(text: &str) -> LayoutJob {
        let mut job = LayoutJob::default();
        job.append(text, 0.0, TextFormat::default());
        job
    }

    #[test]
    fn words_of_a_name_stand_from_right_to_left_and_the_extension_behind_them() {
        for (name, painted) in [
            ("مستند.pdf", "مستند.pdf"),
            ("تقرير جديد.pdf", "جديد تقرير.pdf"),
            ("تقرير 2026 جديد.pdf", "جديد 2026 تقرير.pdf"),
            ("تقرير جديد 12.pdf", "12 جديد تقرير.pdf"),
            // Hebrew in brackets, which are mirrored.
            ("דוח (סופי) חדש.txt", "חדש (סופי) דוח.txt"),
            ("דוח (סופי).txt", "(סופי) דוח.txt"),
            // Latin among it keeps its order, and what stands around it does.
            ("IMG_041 صورة من البحر.jpg", "IMG_041 البحر من صورة.jpg"),
            ("صورة of Anna جديدة.jpg", "صورة of Anna جديدة.jpg"),
            ("照片 صورة جديدة.jpg", "照片 جديدة صورة.jpg"),
            ("plain (1) é 照片.jpg", "plain (1) é 照片.jpg"),
        ] {
            assert_eq!(visual(name), painted, "{name}");
        }
    }

    #[test]
    fn letters_that_are_turned_together_are_given_in_the_order_that_this_wants() {
        // One piece, whose comma and digits stand where they are read once it is turned.
        assert_eq!(pieces("مرحبا، أنا", Level::ltr()), ["أنا", " ", "مرحبا،"]);
        assert_eq!(pieces("صورة١٢", Level::ltr()), ["صورة٢١"]);
        // Digits alone are not turned.
        assert_eq!(visual("١٢.jpg"), "١٢.jpg");
        // A vowel mark stays with its letter, and what joins or parts letters between them.
        assert_eq!(visual("مُحَمَّد علي"), "علي مُحَمَّد");
        assert_eq!(visual("می\u{200c}خواهم نان"), "نان می\u{200c}خواهم");
    }

    #[test]
    fn what_stands_behind_a_name_in_a_sentence_stays_there() {
        let sentence = format!("To {} · 3 files, {}", Apart("تقرير جديد"), Apart("Anna"));
        assert_eq!(visual(&sentence), "To جديد تقرير · 3 files, Anna");
        assert_eq!(read(&sentence), "To تقرير جديد · 3 files, Anna");
        // What a name contains of this kind is escaped, as everywhere.
        let hostile = format!("{} 1", Apart("تقرير\u{2069}"));
        assert_eq!(read(&hostile), "تقرير\\u{2069} 1");
        assert_eq!(Apart("Anna").to_string(), "Anna");
    }

    #[test]
    fn a_name_is_cut_where_it_is_read_last() {
        let context = egui::Context::default();
        let text = "تقرير جديد عن البحر.pdf";
        let job = job(text);
        let part = Text::of(&job);
        let mut cuts = Vec::new();
        let output = context.run_ui(egui::RawInput::default(), |ui| {
            for width in [10_000.0, 100.0, 0.0] {
                let (job, is_cut) = fitted(ui, &part, width);
                cuts.push((job.text, is_cut));
            }
        });
        output.drop_without_applying_deltas();
        let [whole, some, least] = cuts.get(..3).unwrap_or_default() else {
            panic!("nothing was laid out");
        };
        assert_eq!(*whole, (visual(text).into_owned(), false));
        assert!(
            some.1 && some.0.contains("تقرير") && !some.0.contains("pdf"),
            "{some:?}"
        );
        assert_eq!(*least, ("ت…".to_owned(), true));
    }

    #[test]
    fn lines_end_between_words_and_begin_where_the_text_goes_on() {
        let context = egui::Context::default();
        let text = "one مرحبا two\n\nthree أنا four longerthanaline";
        let job = job(text);
        let text = Text::of(&job);
        let mut said = Vec::new();
        let output = context.run_ui(egui::RawInput::default(), |ui| {
            said.clear();
            for (line, ends) in text.lines(ui, 60.0) {
                assert!(text.width(ui, line.clone()) <= 66.0, "{line:?}");
                let letters = text.letters.get(line).unwrap_or_default();
                let letters: String = letters.iter().map(|(c, _)| c).collect();
                said.push((letters, ends));
            }
        });
        output.drop_without_applying_deltas();
        let ends: Vec<bool> = said.iter().map(|(_, ends)| *ends).collect();
        let first = ends.iter().position(|ends| *ends).unwrap_or_default();
        assert!(ends.get(first + 1).is_some_and(|ends| *ends), "{said:?}");
        assert!(
            said.iter().any(|(line, _)| line.starts_with("three")),
            "{said:?}"
        );
        let all: String = said
            .iter()
            .map(|(line, ends)| format!("{line}{}", if *ends { "\n" } else { "" }))
            .collect();
        assert_eq!(all, job.text);
    }
}
