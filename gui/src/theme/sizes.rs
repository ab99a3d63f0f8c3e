//! All sizes of letters in the window.

use egui::{FontId, RichText, Ui};

use super::{Tone, of};

/// How large a text is: six steps, and nothing between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Size {
    /// What machines say, and what stands below a name.
    Small,
    /// What is read second, and buttons in a line.
    Note,
    /// Everything else.
    Body,
    /// The first line of a question.
    Lead,
    /// Headings.
    Title,
    /// What is read across a room.
    Huge,
}

impl Size {
    /// In points.
    pub(crate) fn points(self) -> f32 {
        match self {
            Self::Small => 12.0,
            Self::Note => 13.0,
            Self::Body => 14.5,
            Self::Lead => 16.0,
            Self::Title => 17.0,
            Self::Huge => 24.0,
        }
    }

    /// The font of ordinary text.
    pub(crate) fn font(self) -> FontId {
        FontId::proportional(self.points())
    }

    /// The font of text whose letters are all as wide.
    pub(crate) fn even_font(self) -> FontId {
        FontId::monospace(self.points())
    }

    /// A text of this size.
    pub(crate) fn text(self, text: impl Into<String>) -> RichText {
        RichText::new(text).size(self.points())
    }

    /// A text of this size whose letters are all as wide.
    pub(crate) fn even(self, text: impl Into<String>) -> RichText {
        self.text(text).monospace()
    }
}

/// Small text in a tone.
pub(crate) fn note(ui: &Ui, tone: Tone, text: impl Into<String>) -> RichText {
    toned(ui, tone, Size::Note, text)
}

/// Text of a size in a tone.
pub(crate) fn toned(ui: &Ui, tone: Tone, size: Size, text: impl Into<String>) -> RichText {
    size.text(text).color(of(ui).tone(tone))
}
