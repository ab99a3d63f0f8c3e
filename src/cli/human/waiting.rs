//! Words for who waits, and where; and for a way that is not as it should be.

use peerconnect::net::link::PathKind;
use peerconnect::node::api::Me;
use peerconnect::text::Shown;
use peerconnect::transfer::status::TransferSnapshot;

use super::Human;

impl Human {
    /// Says why it may be slow, if the way is to blame.
    pub(super) fn way(&mut self, t: &TransferSnapshot) {
        if let Some(text) = t.path.as_ref().and_then(|path| slow(path.kind)) {
            let whose = self.whose(t);
            self.say(&format!("{whose}{text}"));
        }
    }
}

fn slow(kind: PathKind) -> Option<&'static str> {
    match kind {
        PathKind::Tcp => Some("UDP is blocked on the way: using TCP, which is slower."),
        PathKind::Direct | PathKind::Relay | PathKind::Memory | PathKind::LegacyPlain => None,
    }
}

/// Who waits here, and how he is found: by his link, or where he is.
pub(super) fn waiting(me: &Me) -> String {
    let mut text = format!("Waiting. You are \"{}\".\n", Shown(&me.name));
    text.push_str(&format!("  Send to: {}\n", me.link));
    let mapped = me.router_port.addr().map(|addr| addr.to_string());
    let inside = me
        .addrs
        .iter()
        .filter(|addr| Some(*addr) != mapped.as_ref());
    let inside: Vec<&str> = inside.map(String::as_str).collect();
    text.push_str(&format!("  Or, in the same network: {}", inside.join("  ")));
    if let Some(addr) = mapped {
        text.push_str(&format!(
            "\n  Or, from anywhere, through your router: {addr}"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use peerconnect::net::{RouterPort, RouterProtocol};

    use super::*;
    use crate::cli::testing::overview;

    #[test]
    fn why_a_way_is_slow_is_said_once_it_is_known() {
        assert_eq!(slow(PathKind::Direct), None);
        assert!(slow(PathKind::Tcp).is_some_and(|text| text.contains("UDP is blocked")));
    }

    #[test]
    fn a_port_at_the_router_is_not_an_address_of_the_same_network() {
        let mut me = overview(vec![]).me;
        assert!(!waiting(&me).contains("router"));
        let outside = "198.51.100.1:40001";
        me.addrs = vec!["192.168.1.7:3485".into(), outside.into()];
        me.router_port = RouterPort::Open {
            addr: outside.parse().unwrap(),
            by: RouterProtocol::Upnp,
        };
        let text = waiting(&me);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], "  Or, in the same network: 192.168.1.7:3485");
        assert_eq!(
            lines[3],
            "  Or, from anywhere, through your router: 198.51.100.1:40001"
        );
    }
}
