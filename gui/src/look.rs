//! How the window looked when it was closed: colours, zoom, size. Kept in a small file, without
//! which the window looks as at its first start.

use std::path::Path;

use egui::{Context, ThemePreference, Vec2, vec2};
use peerconnect::config::Paths;
use serde::{Deserialize, Serialize};

/// Largest side that is believed, in points.
const SIDE_MAX: f32 = 16_384.0;

/// Zooms that are believed; the keyboard goes no further either.
const ZOOMS: std::ops::RangeInclusive<f32> = 0.2..=5.0;

/// What a person has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Look {
    theme: Colours,
    zoom: f32,
    width: f32,
    height: f32,
    /// Whether the system is told what happens while the window is not in front.
    notify: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Colours {
    /// As the system has them.
    #[default]
    System,
    Light,
    Dark,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            theme: Colours::System,
            zoom: 1.0,
            width: 1040.0,
            height: 680.0,
            notify: true,
        }
    }
}

impl Look {
    /// The smallest window in which everything has its place, in points.
    pub const SIZE_MIN: [f32; 2] = [480.0, 440.0];

    /// As it was last time, as far as that makes sense.
    pub fn load(paths: &Paths) -> Self {
        match std::fs::read_to_string(file(paths)) {
            Ok(text) => Self::parse(&text),
            Err(_) => Self::default(),
        }
    }

    fn parse(text: &str) -> Self {
        let mut look: Self = toml::from_str(text).unwrap_or_default();
        let default = Self::default();
        if !ZOOMS.contains(&look.zoom) {
            look.zoom = default.zoom;
        }
        let [width, height] = Self::SIZE_MIN;
        let fits =
            (width..=SIDE_MAX).contains(&look.width) && (height..=SIDE_MAX).contains(&look.height);
        if !fits {
            (look.width, look.height) = (default.width, default.height);
        }
        look
    }

    /// Keeps it for the next start.
    pub(crate) fn save(&self, paths: &Paths) {
        let written = match toml::to_string(self) {
            Ok(text) => replace(&file(paths), &text),
            Err(error) => Err(std::io::Error::other(error)),
        };
        if let Err(error) = written {
            tracing::debug!(%error, "the look of the window was not kept");
        }
    }

    /// Size of the window, in points of a zoom of 1.
    pub fn size(&self) -> Vec2 {
        vec2(self.width, self.height)
    }

    /// Gives the window its colours and zoom.
    pub(crate) fn apply(&self, ctx: &Context) {
        ctx.set_theme(match self.theme {
            Colours::System => ThemePreference::System,
            Colours::Light => ThemePreference::Light,
            Colours::Dark => ThemePreference::Dark,
        });
        ctx.set_zoom_factor(self.zoom);
        set_notifies(ctx, self.notify);
    }

    /// Whether the system is told what happens while nobody looks at the window.
    pub fn notifies(&self) -> bool {
        self.notify
    }

    /// How the window looks now. A window over the whole screen keeps its size from before.
    pub(crate) fn observe(&mut self, ctx: &Context) {
        self.theme = match ctx.options(|o| o.theme_preference) {
            ThemePreference::System => Colours::System,
            ThemePreference::Light => Colours::Light,
            ThemePreference::Dark => Colours::Dark,
        };
        self.zoom = ctx.zoom_factor();
        self.notify = notifies(ctx);
        let (whole, rect) = ctx.input(|i| {
            let viewport = i.viewport();
            let yes = |told: Option<bool>| told.unwrap_or(false);
            let whole =
                yes(viewport.maximized) || yes(viewport.fullscreen) || yes(viewport.minimized);
            (whole, i.viewport_rect())
        });
        if !whole {
            let size = rect.size() * self.zoom;
            (self.width, self.height) = (size.x.round(), size.y.round());
        }
    }
}

fn notify_id() -> egui::Id {
    egui::Id::unique("notifications")
}

/// Whether the system is told what happens while the window is not in front.
pub(crate) fn notifies(ctx: &Context) -> bool {
    ctx.data(|data| data.get_temp(notify_id())).unwrap_or(true)
}

/// Sets [`notifies`].
pub(crate) fn set_notifies(ctx: &Context, on: bool) {
    ctx.data_mut(|data| data.insert_temp(notify_id(), on));
}

fn file(paths: &Paths) -> std::path::PathBuf {
    paths.state.join("window.toml")
}

/// A crash leaves the old file or the new one, never half of one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let aside = path.with_extension("toml.new");
    std::fs::write(&aside, text)?;
    std::fs::rename(&aside, path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_the_same_after_it_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::below(folder.path());
        assert_eq!(Look::load(&paths), Look::default());
        let look = Look {
            theme: Colours::Dark,
            zoom: 1.3,
            width: 1200.0,
            height: 700.0,
            notify: false,
        };
        look.save(&paths);
        assert_eq!(Look::load(&paths), look);
    }

    #[test]
    fn nonsense_in_the_file_never_hides_the_window() {
        for text in [
            "",
            "theme = 7",
            "not toml",
            "zoom = nan",
            "zoom = 1000.0\nwidth = 1.0",
            "width = inf\nheight = -4.0",
        ] {
            let look = Look::parse(text);
            assert_eq!(look, Look::default(), "{text}");
        }
    }

    #[test]
    fn what_the_window_shows_is_what_is_kept() {
        let ctx = Context::default();
        let look = Look {
            theme: Colours::Light,
            zoom: 1.5,
            ..Look::default()
        };
        look.apply(&ctx);
        let mut seen = look;
        // The zoom holds from the next frame on.
        ctx.run_ui(egui::RawInput::default(), |_| {})
            .textures_delta
            .clear();
        seen.observe(&ctx);
        assert_eq!((seen.theme, seen.zoom), (look.theme, look.zoom));
    }
}
