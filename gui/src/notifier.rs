//! Shows notifications with the service that Linux desktops have for it, and says what a person
//! presses on them (Desktop Notifications Specification, 1.2).
//!
//! One connection and one thread for all of them: a service may tell presses only to whoever has
//! shown the notification. Where there is no such service, nothing happens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use zbus::blocking::connection::Builder;
use zbus::blocking::proxy::SignalIterator;
use zbus::blocking::{Connection, Proxy};

use peerconnect::protocol::message::TransferId;

use crate::notes::{Buttons, Note, Press, Pressed, Tell};

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// Notifications that are remembered: desktops keep about as many in their lists. A press on an
/// older one does nothing, and it stays until the person takes it away.
const SHOWN_MAX: usize = 32;

/// How long the service may take for a reply.
const REPLY_LIMIT: Duration = Duration::from_secs(10);

/// See the module. The thread ends with the bus.
pub(crate) struct Notifier {
    /// Where the bus is; `None` for the session's.
    bus: Option<String>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    service: Option<Proxy<'static>>,
    /// Oldest first.
    shown: VecDeque<Shown>,
}

/// A notification that is there, as far as is known.
struct Shown {
    /// The number that the service gave it.
    number: u32,
    about: TransferId,
    /// Whether it waits for the person.
    asks: bool,
    /// `None` where nothing can be pressed.
    pressed: Option<Pressed>,
}

impl Notifier {
    /// On the bus at this address; on that of the session if there is none.
    pub(crate) fn on(bus: Option<String>) -> Self {
        Self {
            bus,
            state: Arc::default(),
        }
    }

    /// Shows a notification, or takes some back. Waits for the service, so not on a thread that
    /// paints. What is pressed is told on another thread; whoever waits for it is dropped when
    /// nothing can be pressed any more.
    pub(crate) fn tell(&self, told: Tell) {
        let done = match told {
            Tell::Show(note, pressed) => self.show(&note, pressed),
            Tell::Answered(about) => self.take_back(about),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "no notification");
        }
    }

    /// Takes back what asked about this. What the person has taken away already is not there.
    fn take_back(&self, about: TransferId) -> zbus::Result<()> {
        let (service, numbers) = {
            let mut state = lock(&self.state);
            let asks = |shown: &Shown| shown.asks && shown.about == about;
            let numbers = state.shown.iter().filter(|shown| asks(shown));
            let numbers: Vec<u32> = numbers.map(|shown| shown.number).collect();
            state.shown.retain(|shown| !asks(shown));
            (state.service.clone(), numbers)
        };
        let Some(service) = service else {
            return Ok(());
        };
        for number in numbers {
            service.call::<_, _, ()>("CloseNotification", &(number,))?;
        }
        Ok(())
    }

    fn show(&self, note: &Note, pressed: Pressed) -> zbus::Result<()> {
        // Held until the number is known, so that no press comes before it.
        let mut state = lock(&self.state);
        let service = match &state.service {
            Some(service) => service.clone(),
            None => state.service.insert(self.connect()?).clone(),
        };
        let able: Vec<String> = service.call("GetCapabilities", &())?;
        let takes_actions = able.iter().any(|what| what == "actions");
        let number = notify(&service, note, takes_actions)?;
        while state.shown.len() >= SHOWN_MAX {
            state.shown.pop_front();
        }
        state.shown.push_back(Shown {
            number,
            about: note.about,
            asks: note.asks,
            pressed: takes_actions.then_some(pressed),
        });
        Ok(())
    }

    fn connect(&self) -> zbus::Result<Proxy<'static>> {
        let bus = match &self.bus {
            Some(address) => Builder::address(address.as_str())?,
            None => Builder::session()?,
        };
        let bus: Connection = bus.method_timeout(REPLY_LIMIT).build()?;
        let service = Proxy::new(&bus, NAME, PATH, NAME)?;
        let signals = service.receive_all_signals()?;
        let state = Arc::downgrade(&self.state);
        std::thread::Builder::new()
            .name("presses".into())
            .spawn(move || listen(signals, &state))
            .map_err(|error| zbus::Error::InputOutput(Arc::new(error)))?;
        Ok(service)
    }
}

/// Asks for a notification; the number that it got.
fn notify(service: &Proxy<'_>, note: &Note, takes_actions: bool) -> zbus::Result<u32> {
    use std::collections::HashMap;
    let actions: &[&str] = if takes_actions { keys(note) } else { &[] };
    let hints: HashMap<&str, zbus::zvariant::Value<'_>> =
        HashMap::from([("desktop-entry", "peerconnect".into())]);
    let (replaces, as_long_as_usual) = (0u32, -1i32);
    let arguments = (
        "PeerConnect",
        replaces,
        "peerconnect",
        note.title.as_str(),
        escaped(&note.body),
        actions,
        hints,
        as_long_as_usual,
    );
    service.call("Notify", &arguments)
}

/// What a notification can be pressed for: keys, each with what stands on its button.
fn keys(note: &Note) -> &'static [&'static str] {
    match note.buttons {
        Buttons::None => &["default", "Show"],
        Buttons::Decline => &["default", "Show", "decline", "Decline"],
        Buttons::AcceptOrDecline { .. } => {
            &["default", "Show", "accept", "Accept", "decline", "Decline"]
        }
    }
}

fn press(key: &str) -> Option<Press> {
    match key {
        "default" => Some(Press::Show),
        "accept" => Some(Press::Accept),
        "decline" => Some(Press::Decline),
        _ => None,
    }
}

/// Hands presses on until the bus ends or nobody shows notifications any more.
fn listen(signals: SignalIterator<'_>, state: &Weak<Mutex<State>>) {
    for signal in signals {
        let Some(state) = state.upgrade() else { return };
        let header = signal.header();
        let body = signal.body();
        let (number, press, closed) = match header.member().map(|name| name.as_str()) {
            Some("ActionInvoked") => match body.deserialize::<(u32, &str)>() {
                Ok((number, key)) => (number, press(key), false),
                Err(_) => continue,
            },
            Some("NotificationClosed") => match body.deserialize::<(u32, u32)>() {
                Ok((number, _why)) => (number, None, true),
                Err(_) => continue,
            },
            // The token for a window that opens, which has no use here.
            Some(_) | None => continue,
        };
        let pressed = taken(&mut lock(&state), number, closed);
        if let (Some(pressed), Some(press)) = (pressed, press) {
            pressed(press);
        }
    }
    // The next notification looks for a bus anew.
    if let Some(state) = state.upgrade() {
        *lock(&state) = State::default();
    }
}

/// Takes who waits for presses on this notification. Where a press has not closed it, it can still
/// be taken back: not every service closes what was pressed.
fn taken(state: &mut State, number: u32, closed: bool) -> Option<Pressed> {
    let place = state.shown.iter().position(|s| s.number == number)?;
    match closed {
        true => state.shown.remove(place)?.pressed,
        false => state.shown.get_mut(place)?.pressed.take(),
    }
}

/// Nothing of it is half done when a thread panics.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The body of a notification may hold markup: names must not.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_elsewhere_are_no_markup() {
        assert_eq!(escaped("<b>a & b</b>"), "&lt;b&gt;a &amp; b&lt;/b&gt;");
    }
}
