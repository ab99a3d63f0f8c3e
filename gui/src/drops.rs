//! Where files are dropped. While something is dragged over a window, winit does not say where the
//! pointer is: an X server is asked for it. Over Wayland it takes no drops at all, so the window
//! prefers an X server where there are both.

use std::sync::Arc;

use egui::Pos2;
use winit::raw_window_handle::{HasWindowHandle, RawWindowHandle};

/// Gives where the pointer is, in physical pixels from the corner of the window, if that can be
/// had. Quick enough to be asked for each frame.
pub type Pointer = Arc<dyn Fn() -> Option<Pos2> + Send + Sync>;

/// How files can be dropped on the window.
#[derive(Clone)]
pub enum Drops {
    /// Not at all.
    None,
    /// What the toolkit says about the pointer is right.
    Anywhere,
    /// The toolkit does not say where the pointer is, but this does.
    Under(Pointer),
}

impl Drops {
    /// How this window takes them. `server` is the one that it may be on.
    pub fn of(window: &impl HasWindowHandle, server: Option<XServer>) -> Self {
        let on_x_server = match window.window_handle().map(|handle| handle.as_raw()) {
            Ok(RawWindowHandle::Wayland(_)) => return Self::None,
            Ok(RawWindowHandle::Xlib(handle)) => u32::try_from(handle.window).ok(),
            Ok(RawWindowHandle::Xcb(handle)) => Some(handle.window.get()),
            Ok(_) | Err(_) => None,
        };
        match (on_x_server, server) {
            (Some(window), Some(server)) => Self::Under(server.pointer_in(window)),
            (None, _) | (_, None) => Self::Anywhere,
        }
    }
}

/// A connection of our own to an X server: that of the toolkit is not ours to read from. To be
/// kept until the window is open: a server without a desktop begins anew when the last who uses
/// it leaves.
#[cfg(target_os = "linux")]
pub struct XServer(x11rb::rust_connection::RustConnection);

#[cfg(target_os = "linux")]
impl XServer {
    /// The one that is named by the environment, if it answers.
    pub fn connect() -> Option<Self> {
        let _named = std::env::var_os("DISPLAY")?;
        let (server, _) = x11rb::connect(None).ok()?;
        Some(Self(server))
    }

    fn pointer_in(self, window: u32) -> Pointer {
        use x11rb::protocol::xproto::ConnectionExt;

        Arc::new(move || {
            let pointer = self.0.query_pointer(window).ok()?.reply().ok()?;
            Some(egui::pos2(pointer.win_x.into(), pointer.win_y.into()))
        })
    }
}

/// There is none.
#[cfg(not(target_os = "linux"))]
pub enum XServer {}

#[cfg(not(target_os = "linux"))]
impl XServer {
    /// None.
    pub fn connect() -> Option<Self> {
        None
    }

    fn pointer_in(self, _window: u32) -> Pointer {
        match self {}
    }
}
