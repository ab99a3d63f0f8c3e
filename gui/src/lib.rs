//! The window of PeerConnect.
//!
//! [`App`] is one window of one node. It knows the node only through
//! [`peerconnect::node::api::NodeHandle`] and the system only through [`Outside`], so that tests
//! can be both. Its state is plain data (`model`); one file per panel draws it and returns what
//! the person did; `app` carries that out.

mod about_ui;
mod actions;
mod app;
mod asking;
mod attention;
mod bidi;
mod bridge;
mod check;
mod check_ui;
mod codes_ui;
mod conflict_ui;
mod curve;
mod devices;
mod dialogs;
mod drops;
mod elsewhere;
mod ended_ui;
mod files_ui;
mod groups_ui;
mod guard;
mod history;
mod history_ui;
mod icons;
mod input;
mod keys_ui;
mod leave_ui;
mod lines;
mod link_ui;
mod log;
mod look;
mod many_ui;
mod menu;
mod model;
mod notes;
#[cfg(target_os = "linux")]
mod notifier;
mod offer_ui;
mod opened;
mod outside;
mod page_ui;
mod pages;
mod pasted;
mod peer_menu;
mod peer_row;
mod peers_ui;
mod reveal;
mod seen;
mod settings_ui;
mod staged_ui;
mod start_ui;
mod texts;
mod texts_ui;
mod theme;
mod top_ui;
mod transfers_ui;
mod wanted_ui;
mod words;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use about_ui::TEXTS as LICENCES;
pub use app::App;
pub use attention::{Attention, Question};
pub use bridge::wake_function;
pub use drops::{Drops, Pointer, XServer};
pub use icons::icon;
pub use log::Log;
pub use look::Look;
pub use menu::{APP_ID, Entries, Entry, MenuChange};
pub use notes::{Buttons, Meant, Note, Notify, Press, Pressed, Tell, system as notify};
pub use opened::{ABOUT, Asked, Opened, QUESTION};
pub use outside::{Browse, Job, Open, Outside, Pick, Picked, Room};
pub use start_ui::{Start, Wake, Window};
