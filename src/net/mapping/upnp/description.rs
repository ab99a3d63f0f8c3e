//! What a router says about itself: which of its services opens ports, and where it takes orders
//! (UPnP Device Architecture 1.1, section 2.3).

use std::net::Ipv4Addr;
use std::ops::ControlFlow;

use super::url::Url;
use super::xml::{self, Found, NotXml};

/// Longest description that is read, in bytes.
pub const LEN_MAX: usize = 128 * 1024;
/// Most services of the kinds below that are looked at; a router with two ways into the Internet
/// has two.
pub const SERVICES_MAX: usize = 4;

/// A service that opens ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `WANIPConnection:1` of 2001.
    Ip1,
    /// `WANIPConnection:2` of 2010, which can choose a port itself.
    Ip2,
    /// `WANPPPConnection:1`: the same, of a router that dials.
    Ppp1,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Ip1, Self::Ip2, Self::Ppp1];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ip1 => "urn:schemas-upnp-org:service:WANIPConnection:1",
            Self::Ip2 => "urn:schemas-upnp-org:service:WANIPConnection:2",
            Self::Ppp1 => "urn:schemas-upnp-org:service:WANPPPConnection:1",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A service, and where it takes orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub control: Url,
}

/// The services in a description that is at `url`, as far as they are at the router itself.
/// [`SERVICES_MAX`] at most.
pub fn services(body: &[u8], url: &Url, gateway: Ipv4Addr) -> Result<Vec<Service>, NotXml> {
    let mut base = url.clone();
    let mut found = Vec::new();
    let (mut kind, mut control) = (None, String::new());
    xml::read(body, |one| {
        match one {
            Found::Begin("service") => {
                kind = None;
                control.clear();
            }
            // Of the first version of UPnP. It comes before all devices.
            Found::End("URLBase", text) => {
                base = Url::absolute(text, gateway).unwrap_or_else(|| url.clone());
            }
            Found::End("serviceType", text) => kind = Kind::of(text),
            Found::End("controlURL", text) => text.clone_into(&mut control),
            Found::End("service", _) => {
                let place = base.join(&control, gateway);
                found.extend(kind.zip(place));
            }
            Found::Begin(_) | Found::End(..) => {}
        }
        match found.len() < SERVICES_MAX {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    let service = |(kind, control)| Service { kind, control };
    Ok(found.into_iter().map(service).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

    fn found(text: &str) -> Result<String, NotXml> {
        let url = Url::absolute("http://192.168.1.1:5000/igd/root.xml", ROUTER).unwrap();
        let services = services(text.as_bytes(), &url, ROUTER)?;
        let shown = |service: &Service| {
            let Url { port, path } = &service.control;
            format!("{:?} {port} {path}", service.kind)
        };
        let shown: Vec<String> = services.iter().map(shown).collect();
        Ok(shown.join(", "))
    }

    fn service(kind: &str, control: &str) -> String {
        format!(
            "<service><serviceType>urn:schemas-upnp-org:service:{kind}</serviceType>\
             <SCPDURL>/x.xml</SCPDURL><controlURL>{control}</controlURL></service>"
        )
    }

    fn root(before: &str, services: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<root xmlns=\"urn:schemas-upnp-org:device-1-0\">{before}\
             <device><deviceList><device><serviceList>{services}</serviceList></device>\
             </deviceList></device></root>\n"
        )
    }

    #[test]
    fn services_that_open_ports_are_found_where_they_are() {
        let all = [
            service("Layer3Forwarding:1", "/l3f"),
            service("WANPPPConnection:1", "ppp"),
            service("WANIPConnection:2", "/ctl?a=1&amp;b=2"),
            service("WANIPConnection:1", "http://192.168.1.1:80/ip"),
        ];
        assert_eq!(
            found(&root("", &all.concat())).as_deref(),
            Ok("Ppp1 5000 /igd/ppp, Ip2 5000 /ctl?a=1&b=2, Ip1 80 /ip")
        );
        let base = "<URLBase>http://192.168.1.1:81/</URLBase>";
        assert_eq!(found(&root(base, &all[1])).as_deref(), Ok("Ppp1 81 /ppp"));
    }

    #[test]
    fn what_is_elsewhere_is_left_out() {
        let elsewhere = service("WANIPConnection:1", "http://192.168.1.7/ctl");
        let good = service("WANIPConnection:1", "/ctl");
        assert_eq!(found(&root("", &elsewhere)).as_deref(), Ok(""));
        let both = elsewhere + &good;
        assert_eq!(found(&root("", &both)).as_deref(), Ok("Ip1 5000 /ctl"));
        let base = "<URLBase>http://192.168.1.7/</URLBase>";
        assert_eq!(found(&root(base, &good)).as_deref(), Ok("Ip1 5000 /ctl"));
        // One without an address does not get that of the one before it.
        let none = "<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1\
                    </serviceType></service>";
        let both = good.clone() + none;
        assert_eq!(found(&root("", &both)).as_deref(), Ok("Ip1 5000 /ctl"));
        let many = found(&root("", &good.repeat(100))).unwrap();
        assert_eq!(many.split(", ").count(), SERVICES_MAX);
        assert_eq!(found("<root>"), Err(NotXml));
    }

    proptest! {
        #[test]
        fn any_description_leads_to_the_router_or_nowhere(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("<service>".to_owned()),
                    Just("</service>".to_owned()),
                    Just("<serviceType>urn:schemas-upnp-org:service:WANIPConnection:1\
                          </serviceType>".to_owned()),
                    "(http://(192\\.168\\.1\\.[17]|[a-z.]{1,9}))?[/a-z:?#&;<]{0,9}"
                        .prop_map(|text| format!("<controlURL>{text}</controlURL>")),
                    ".{0,20}",
                ],
                0..12,
            ),
        ) {
            let url = Url { port: 5000, path: "/root.xml".into() };
            let text = parts.concat();
            for service in services(text.as_bytes(), &url, ROUTER).unwrap_or_default() {
                prop_assert!(service.control.path.starts_with('/'));
                prop_assert!(service.control.path.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
