//! Notifications on a bus of their own, with a service that does what it is told.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peerconnect::protocol::message::TransferId;
use zbus::blocking::Connection;
use zbus::blocking::connection::Builder;
use zbus::zvariant::OwnedValue;

use crate::notes::{Buttons, Note, Press, Pressed, Tell};
use crate::notifier::Notifier;

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// More than a busy machine needs.
const SOON: Duration = Duration::from_secs(20);

/// A notification that was shown: its title, and what can be pressed.
type Told = (String, Vec<String>);

struct Service {
    able: Vec<String>,
    told: Arc<Mutex<Vec<Told>>>,
    closed: Arc<Mutex<Vec<u32>>>,
}

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Service {
    fn get_capabilities(&self) -> Vec<String> {
        self.able.clone()
    }

    fn close_notification(&self, number: u32) {
        self.closed.lock().unwrap().push(number);
    }

    #[allow(clippy::too_many_arguments)]
    fn notify(
        &self,
        _app: String,
        _replaces: u32,
        _icon: String,
        title: String,
        _body: String,
        actions: Vec<String>,
        _hints: std::collections::HashMap<String, OwnedValue>,
        _expires: i32,
    ) -> u32 {
        let mut told = self.told.lock().unwrap();
        told.push((title, actions));
        told.len() as u32
    }
}

/// A bus, the service on it, and what was told.
struct Desktop {
    daemon: Child,
    address: String,
    service: Connection,
    told: Arc<Mutex<Vec<Told>>>,
    closed: Arc<Mutex<Vec<u32>>>,
}

impl Drop for Desktop {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl Desktop {
    /// `None`, with a word about it, where there is no bus to run.
    fn able_to(able: &[&str]) -> Option<Self> {
        let daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address=1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut daemon) = daemon else {
            let must = std::env::var_os("PEERCONNECT_TEST_ALL").is_some();
            assert!(!must, "dbus-daemon is missing");
            eprintln!("skipped: dbus-daemon is missing");
            return None;
        };
        let mut address = String::new();
        let said = daemon.stdout.take().unwrap();
        BufReader::new(said).read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let closed: Arc<Mutex<Vec<u32>>> = Arc::default();
        let service = Service {
            able: able.iter().map(|what| what.to_string()).collect(),
            told: Arc::clone(&told),
            closed: Arc::clone(&closed),
        };
        let service = Builder::address(address.as_str())
            .and_then(|bus| bus.serve_at(PATH, service))
            .and_then(|bus| bus.name(NAME))
            .and_then(Builder::build)
            .unwrap();
        Some(Self {
            daemon,
            address,
            service,
            told,
            closed,
        })
    }

    fn notifier(&self) -> Notifier {
        Notifier::on(Some(self.address.clone()))
    }

    fn presses(&self, number: u32, key: &str) {
        self.says("ActionInvoked", &(number, key));
    }

    fn closes(&self, number: u32) {
        self.says("NotificationClosed", &(number, 2u32));
    }

    fn says<B>(&self, signal: &str, body: &B)
    where
        B: serde::Serialize + zbus::zvariant::DynamicType,
    {
        let everybody = None::<&str>;
        self.service
            .emit_signal(everybody, PATH, NAME, signal, body)
            .unwrap();
    }
}

fn note(buttons: Buttons) -> Note {
    Note {
        title: "Kitchen wants to send you files".into(),
        body: "a & b".into(),
        about: TransferId([3; 16]),
        buttons,
        asks: buttons != Buttons::None,
    }
}

/// Shows a note; its presses come out of the receiver.
fn shown(notifier: &Notifier, buttons: Buttons) -> Receiver<Press> {
    let (tell, came) = mpsc::sync_channel(4);
    let pressed: Pressed = Box::new(move |press| tell.send(press).unwrap());
    notifier.tell(Tell::Show(note(buttons), pressed));
    came
}

#[test]
fn a_press_on_a_notification_comes_back_once() {
    let Some(desktop) = Desktop::able_to(&["body", "actions"]) else {
        return;
    };
    let notifier = desktop.notifier();
    let trusted = Buttons::AcceptOrDecline { round: 1 };
    let first = shown(&notifier, trusted);
    let second = shown(&notifier, Buttons::Decline);
    let third = shown(&notifier, Buttons::None);
    let told = desktop.told.lock().unwrap().clone();
    let buttons: Vec<_> = told.iter().map(|(_, actions)| actions.join(" ")).collect();
    let all = "default Show accept Accept decline Decline";
    let expected = [all, "default Show decline Decline", "default Show"];
    assert_eq!(buttons, expected);

    desktop.presses(77, "accept");
    desktop.presses(2, "decline");
    assert_eq!(second.recv_timeout(SOON), Ok(Press::Decline));
    desktop.presses(1, "accept");
    assert_eq!(first.recv_timeout(SOON), Ok(Press::Accept));
    // It is done with: a second press is heard by nobody.
    desktop.presses(1, "accept");
    assert!(first.recv_timeout(SOON).is_err());
    desktop.closes(3);
    desktop.presses(3, "default");
    assert!(third.recv_timeout(SOON).is_err(), "it was closed");
}

#[test]
fn a_click_on_the_notification_itself_shows_what_it_is_about() {
    let Some(desktop) = Desktop::able_to(&["actions"]) else {
        return;
    };
    let notifier = desktop.notifier();
    let came = shown(&notifier, Buttons::None);
    desktop.presses(1, "default");
    assert_eq!(came.recv_timeout(SOON), Ok(Press::Show));
}

#[test]
fn nothing_is_offered_to_press_where_nothing_can_be_pressed() {
    let Some(desktop) = Desktop::able_to(&["body"]) else {
        return;
    };
    let came = shown(&desktop.notifier(), Buttons::Decline);
    assert_eq!(desktop.told.lock().unwrap()[0].1, [""; 0]);
    assert!(came.recv_timeout(SOON).is_err(), "nobody waits for presses");
}

#[test]
fn no_more_presses_are_waited_for_than_desktops_keep_notifications() {
    let Some(desktop) = Desktop::able_to(&["actions"]) else {
        return;
    };
    let notifier = desktop.notifier();
    let first = shown(&notifier, Buttons::None);
    let rest: Vec<_> = (0..32).map(|_| shown(&notifier, Buttons::None)).collect();
    desktop.presses(1, "default");
    assert!(first.recv_timeout(SOON).is_err(), "it was forgotten");
    desktop.presses(33, "default");
    assert_eq!(rest[31].recv_timeout(SOON), Ok(Press::Show));
}

#[test]
fn a_notification_goes_when_nobody_need_answer_it_any_more() {
    for able in [&["actions"][..], &[]] {
        let Some(desktop) = Desktop::able_to(able) else {
            return;
        };
        let notifier = desktop.notifier();
        let closed = || std::mem::take(&mut *desktop.closed.lock().unwrap());
        let about = TransferId([3; 16]);
        notifier.tell(Tell::Answered(about));
        let question = shown(&notifier, Buttons::Decline);
        // That the same transfer has ended stays.
        let end = shown(&notifier, Buttons::None);
        notifier.tell(Tell::Answered(TransferId([4; 16])));
        assert_eq!(closed(), [0; 0]);
        notifier.tell(Tell::Answered(about));
        assert_eq!(closed(), [1]);
        assert!(question.recv_timeout(SOON).is_err(), "nobody waits for it");
        notifier.tell(Tell::Answered(about));
        assert_eq!(closed(), [0; 0], "it is gone");
        drop(end);
    }
}

#[test]
fn a_notification_that_a_press_has_not_closed_goes_when_it_is_answered() {
    let Some(desktop) = Desktop::able_to(&["actions"]) else {
        return;
    };
    let notifier = desktop.notifier();
    let question = shown(&notifier, Buttons::AcceptOrDecline { round: 1 });
    desktop.presses(1, "accept");
    assert_eq!(question.recv_timeout(SOON), Ok(Press::Accept));
    notifier.tell(Tell::Answered(TransferId([3; 16])));
    assert_eq!(*desktop.closed.lock().unwrap(), [1]);
}
