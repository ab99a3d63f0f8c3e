//! Words for who waits, and where.

use peerconnect::node::api::Me;
use peerconnect::text::Shown;

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
