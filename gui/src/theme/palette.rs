//! All colours of the window: two accents, and what is around them, for light and dark.

use egui::{Color32, Theme};
use peerconnect::transfer::status::Direction;

/// The colours of one theme. Text colours reach 4.5:1 on every surface (WCAG AA, see the tests).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Palette {
    /// Behind everything.
    pub(crate) ground: Color32,
    /// Side and top panels.
    pub(crate) panel: Color32,
    /// Cards on the ground.
    pub(crate) card: Color32,
    /// Thin lines around cards and fields.
    pub(crate) line: Color32,
    /// Ordinary text.
    pub(crate) text: Color32,
    /// Headings.
    pub(crate) strong: Color32,
    /// Text that is read second.
    pub(crate) weak: Color32,
    /// The first accent, which says "here": what can be pressed or is chosen, and what goes out.
    pub(crate) accent: Color32,
    /// The same under the pointer.
    pub(crate) accent_hot: Color32,
    /// Text on either accent colour.
    pub(crate) on_accent: Color32,
    /// Text in the first accent colour.
    pub(crate) accent_text: Color32,
    /// Surfaces of what is chosen.
    pub(crate) accent_soft: Color32,
    /// The second accent: what comes in.
    pub(crate) second: Color32,
    /// Text in the second accent colour.
    pub(crate) second_text: Color32,
    /// Surfaces of what comes in.
    pub(crate) second_soft: Color32,
    /// Buttons at rest.
    pub(crate) button: Color32,
    /// Buttons and rows under the pointer.
    pub(crate) hot: Color32,
    /// The part of a bar that is not done.
    pub(crate) track: Color32,
    /// What went well.
    pub(crate) ok: Color32,
    /// What waits or is held up.
    pub(crate) warn: Color32,
    /// What failed.
    pub(crate) error: Color32,
}

const fn rgb(hex: u32) -> Color32 {
    Color32::from_rgb((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

pub(crate) const LIGHT: Palette = Palette {
    ground: rgb(0xf3f4f8),
    panel: rgb(0xfafbfd),
    card: rgb(0xffffff),
    line: rgb(0xdfe3ec),
    text: rgb(0x1a1e29),
    strong: rgb(0x0b0e16),
    weak: rgb(0x5a6173),
    accent: rgb(0x3b5bdb),
    accent_hot: rgb(0x324dc0),
    on_accent: rgb(0xffffff),
    accent_text: rgb(0x3351cc),
    accent_soft: rgb(0xe9edfd),
    second: rgb(0x0b7285),
    second_text: rgb(0x0b6474),
    second_soft: rgb(0xe0f3f6),
    button: rgb(0xeef0f5),
    hot: rgb(0xe4e8f1),
    track: rgb(0xe3e7f0),
    ok: rgb(0x17703c),
    warn: rgb(0x8a4f00),
    error: rgb(0xb8221f),
};

pub(crate) const DARK: Palette = Palette {
    ground: rgb(0x13151b),
    panel: rgb(0x181b23),
    card: rgb(0x1e222c),
    line: rgb(0x2e3442),
    text: rgb(0xe7e9f0),
    strong: rgb(0xffffff),
    weak: rgb(0xa0a8ba),
    accent: rgb(0x4263eb),
    accent_hot: rgb(0x3b5bdb),
    on_accent: rgb(0xffffff),
    accent_text: rgb(0x9db0ff),
    accent_soft: rgb(0x242d4d),
    second: rgb(0x1f7f92),
    second_text: rgb(0x6fd3e3),
    second_soft: rgb(0x183a42),
    button: rgb(0x2a303d),
    hot: rgb(0x343b4b),
    track: rgb(0x303645),
    ok: rgb(0x6fd69b),
    warn: rgb(0xf6bb62),
    error: rgb(0xff8d84),
};

/// One of the two accents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accent {
    /// Bars and marks.
    pub(crate) fill: Color32,
    /// Text and lines.
    pub(crate) text: Color32,
    /// What is behind small drawings.
    pub(crate) soft: Color32,
}

/// What is read by cameras is black on white in every theme.
pub(crate) const INK: Color32 = Color32::BLACK;
/// See [`INK`].
pub(crate) const PAPER: Color32 = Color32::WHITE;

/// What a device that is only an address so far has instead of a colour of its own.
pub(super) const NOBODY: Color32 = Color32::from_gray(110);
/// Letters on what has a colour of its own.
pub(super) const LETTER: Color32 = Color32::WHITE;

/// The shadow below what lies over the window.
pub(super) fn shadow(theme: Theme) -> Color32 {
    Color32::from_black_alpha(if theme == Theme::Dark { 90 } else { 40 })
}

/// What a text says, for its colour. Never the only sign: a word or symbol says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Tone {
    Plain,
    Weak,
    Accent,
    Ok,
    Warn,
    Error,
}

impl Palette {
    /// The text colour of a tone.
    pub(crate) fn tone(&self, tone: Tone) -> Color32 {
        match tone {
            Tone::Plain => self.text,
            Tone::Weak => self.weak,
            Tone::Accent => self.accent_text,
            Tone::Ok => self.ok,
            Tone::Warn => self.warn,
            Tone::Error => self.error,
        }
    }

    /// The colours of files that go this way.
    pub(crate) fn way(&self, way: Direction) -> Accent {
        match way {
            Direction::Sending => Accent {
                fill: self.accent,
                text: self.accent_text,
                soft: self.accent_soft,
            },
            Direction::Receiving => Accent {
                fill: self.second,
                text: self.second_text,
                soft: self.second_soft,
            },
        }
    }

    /// The colour of bars that stand in this tone, of files that go this way.
    pub(crate) fn bar(&self, tone: Tone, way: Direction) -> Color32 {
        match tone {
            Tone::Plain | Tone::Accent => self.way(way).fill,
            Tone::Weak => self.weak,
            Tone::Ok => self.ok,
            Tone::Warn => self.warn,
            Tone::Error => self.error,
        }
    }
}

/// Contrast of two opaque colours as WCAG 2 counts it, 1 to 21.
pub(crate) fn contrast(a: Color32, b: Color32) -> f32 {
    let light = |c: Color32| {
        let linear = egui::Rgba::from(c);
        0.2126 * linear.r() + 0.7152 * linear.g() + 0.0722 * linear.b() + 0.05
    };
    let (a, b) = (light(a), light(b));
    a.max(b) / a.min(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_readable_on_every_surface_in_both_themes() {
        for p in [LIGHT, DARK] {
            for tone in [
                Tone::Plain,
                Tone::Weak,
                Tone::Accent,
                Tone::Ok,
                Tone::Warn,
                Tone::Error,
            ] {
                for surface in [p.ground, p.panel, p.card, p.accent_soft, p.second_soft] {
                    let ratio = contrast(p.tone(tone), surface);
                    assert!(ratio >= 4.5, "{tone:?} on {surface:?}: {ratio}");
                }
            }
            for (text, surface) in [
                (p.on_accent, p.accent),
                (p.on_accent, p.accent_hot),
                (p.on_accent, p.second),
                (p.second_text, p.second_soft),
                (p.second_text, p.card),
                (p.text, p.button),
                (p.text, p.hot),
            ] {
                assert!(contrast(text, surface) >= 4.5, "{text:?} on {surface:?}");
            }
        }
    }
}
