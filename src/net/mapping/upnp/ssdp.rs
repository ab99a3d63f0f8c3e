//! The question who is there, and its answers (SSDP: UPnP Device Architecture 1.1, section 1.3).

use std::net::{Ipv4Addr, SocketAddrV4};

use super::http::{parse_head, value};
use super::url::Url;

/// Where devices take the question, each at its own address as well.
pub const PORT: u16 = 1900;
/// Those who hear it in a network.
pub const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), PORT);
/// Longest answer that is looked at, in bytes.
pub const ANSWER_LEN_MAX: usize = 2048;
/// What is looked for. Those of the second version answer for the first as well, or should.
pub const TARGETS: [&str; 4] = [
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];

/// Asks for what `target` is, to be answered within a second.
pub fn question(target: &str) -> String {
    format!(
        "M-SEARCH * HTTP/1.1\r\nHOST: {GROUP}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
         ST: {target}\r\n\r\n"
    )
}

/// Where the router has its description, as an answer says. `None` if it is somewhere else, or
/// the packet is no answer.
pub fn location(packet: &[u8], gateway: Ipv4Addr) -> Option<Url> {
    if packet.len() > ANSWER_LEN_MAX {
        return None;
    }
    let read = parse_head(packet, |status, headers| {
        let location = value(headers, "location").filter(|_| status == 200)?;
        Url::absolute(location, gateway)
    });
    read.ok().flatten()?.1
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

    #[test]
    fn an_answer_says_where_the_router_describes_itself() {
        let answer = "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nEXT:\r\n\
                      LOCATION: http://192.168.1.1:5000/root.xml\r\n01-NLS: 1\r\n\r\n";
        let url = location(answer.as_bytes(), ROUTER).unwrap();
        assert_eq!((url.port, url.path.as_str()), (5000, "/root.xml"));
        for other in [
            answer.replace("192.168.1.1", "192.168.1.7"),
            answer.replace("200 OK", "404 Not Found"),
            answer.replace("LOCATION", "X-LOCATION"),
            answer.replace("HTTP/1.1 200 OK", "NOTIFY * HTTP/1.1"),
            answer.replace("\r\n\r\n", "\r\n"),
            answer.replace("EXT:", &format!("EXT: {}", "x".repeat(ANSWER_LEN_MAX))),
            String::new(),
        ] {
            assert_eq!(location(other.as_bytes(), ROUTER), None, "{other}");
        }
    }

    #[test]
    fn each_question_says_what_is_looked_for() {
        for target in TARGETS {
            let question = question(target);
            assert!(question.starts_with("M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n"));
            assert!(question.ends_with(&format!("ST: {target}\r\n\r\n")));
        }
    }
}
