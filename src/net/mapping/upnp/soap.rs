//! Orders to a service that opens ports, and what it says to them (WANIPConnection:1 and :2,
//! section 2.4; SOAP as in UPnP Device Architecture 1.1, section 3).

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::ops::ControlFlow;

use super::description::Kind;
use super::http::Answer;
use super::xml::{self, Found};

/// Longest answer that is read, in bytes.
pub const LEN_MAX: usize = 16 * 1024;
/// What a port is opened for, for the person who looks at the router's list.
const FOR_WHAT: &str = "PeerConnect";

/// A port of the router that leads to a computer, by UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// That of the router.
    pub outside: NonZeroU16,
    /// That of the computer.
    pub inside: NonZeroU16,
    /// The computer.
    pub client: Ipv4Addr,
    /// For how long, in seconds; 0 for good.
    pub lease: u32,
}

/// An order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// What is your address in the Internet?
    ExternalAddress,
    /// Open this port, or keep it open.
    Add(Entry),
    /// Open this port or another one, as there is.
    AddAny(Entry),
    /// To whom does this port lead?
    Show(NonZeroU16),
    /// Close this port.
    Delete(NonZeroU16),
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The address.
    Address(Ipv4Addr),
    /// It is done, with this port.
    Reserved(NonZeroU16),
    /// The port leads to this computer, at this port of it.
    LeadsTo(Ipv4Addr, u16),
}

/// Why it was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The port leads to somebody else, or cannot be had.
    #[error("the port is taken ({0})")]
    Taken(u16),
    /// The router opens ports for good only.
    #[error("only permanent leases")]
    OnlyForGood,
    /// The port leads nowhere.
    #[error("no such port")]
    NoSuchEntry,
    /// For another reason, by its number.
    #[error("refused with {0}")]
    Other(u16),
    /// The answer says neither that it is done nor why not.
    #[error("not an answer")]
    Unclear,
}

impl Refusal {
    fn of(number: u16) -> Self {
        match number {
            // Action Failed, Conflict In Mapping Entry, Conflict With Other Mechanisms: some say
            // the first where they mean the second.
            501 | 718 | 729 => Self::Taken(number),
            714 => Self::NoSuchEntry,
            725 => Self::OnlyForGood,
            other => Self::Other(other),
        }
    }
}

impl Order {
    fn name(self) -> &'static str {
        match self {
            Self::ExternalAddress => "GetExternalIPAddress",
            Self::Add(_) => "AddPortMapping",
            Self::AddAny(_) => "AddAnyPortMapping",
            Self::Show(_) => "GetSpecificPortMappingEntry",
            Self::Delete(_) => "DeletePortMapping",
        }
    }

    /// What the header `SOAPAction` says, without its quotes.
    pub fn action(self, kind: Kind) -> String {
        format!("{}#{}", kind.name(), self.name())
    }

    /// The order as an envelope.
    pub fn envelope(self, kind: Kind) -> String {
        const SOAP: &str = "http://schemas.xmlsoap.org/soap";
        let (name, service, arguments) = (self.name(), kind.name(), self.arguments());
        format!(
            "<?xml version=\"1.0\"?>\r\n\
             <s:Envelope xmlns:s=\"{SOAP}/envelope/\" s:encodingStyle=\"{SOAP}/encoding/\">\
             <s:Body><u:{name} xmlns:u=\"{service}\">{arguments}</u:{name}></s:Body>\
             </s:Envelope>\r\n"
        )
    }

    /// In the order of the standard, which some routers insist on.
    fn arguments(self) -> String {
        match self {
            Self::ExternalAddress => String::new(),
            Self::Show(outside) | Self::Delete(outside) => port(outside),
            Self::Add(entry) | Self::AddAny(entry) => {
                let mut text = port(entry.outside);
                let more: [(&str, &dyn std::fmt::Display); 5] = [
                    ("InternalPort", &entry.inside),
                    ("InternalClient", &entry.client),
                    ("Enabled", &1),
                    ("PortMappingDescription", &FOR_WHAT),
                    ("LeaseDuration", &entry.lease),
                ];
                for (name, value) in more {
                    // Text takes everything.
                    let _ = write!(text, "<New{name}>{value}</New{name}>");
                }
                text
            }
        }
    }

    /// What the router has said to it.
    pub fn reply(self, answer: &Answer) -> Result<Reply, Refusal> {
        let found = Fields::read(&answer.body, self.name());
        if let Some(number) = found.error {
            return Err(Refusal::of(number));
        }
        if answer.status != 200 || !found.is_done {
            return Err(Refusal::Unclear);
        }
        let reply = match self {
            Self::Add(_) | Self::Delete(_) => Some(Reply::Done),
            Self::ExternalAddress => found.address.map(Reply::Address),
            Self::AddAny(_) => found.reserved.map(Reply::Reserved),
            Self::Show(_) => {
                let leads = found.client.zip(found.inside);
                leads.map(|(client, inside)| Reply::LeadsTo(client, inside))
            }
        };
        reply.ok_or(Refusal::Unclear)
    }
}

/// From everybody, to this port, by UDP.
fn port(outside: NonZeroU16) -> String {
    format!(
        "<NewRemoteHost></NewRemoteHost><NewExternalPort>{outside}</NewExternalPort>\
         <NewProtocol>UDP</NewProtocol>"
    )
}

/// All that any answer says that matters here.
#[derive(Debug, Default)]
struct Fields {
    is_done: bool,
    error: Option<u16>,
    address: Option<Ipv4Addr>,
    reserved: Option<NonZeroU16>,
    client: Option<Ipv4Addr>,
    inside: Option<u16>,
}

impl Fields {
    /// What an envelope has, up to the end of the answer to the order `name`.
    fn read(body: &[u8], name: &str) -> Self {
        let mut fields = Self::default();
        let read = xml::read(body, |found| {
            if let Found::End(element, text) = found {
                fields.take(element, text);
                fields.is_done = element.strip_suffix("Response") == Some(name);
            }
            match fields.is_done {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        if let Err(error) = read {
            tracing::debug!(%error, "an answer of the router that ends in the middle");
        }
        fields
    }

    fn take(&mut self, element: &str, text: &str) {
        match element {
            "errorCode" => self.error = text.parse().ok(),
            "NewExternalIPAddress" => self.address = text.parse().ok(),
            "NewReservedPort" => self.reserved = text.parse().ok(),
            "NewInternalClient" => self.client = text.parse().ok(),
            "NewInternalPort" => self.inside = text.parse().ok(),
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).unwrap()
    }

    fn entry() -> Entry {
        Entry {
            outside: number(3485),
            inside: number(3486),
            client: Ipv4Addr::new(192, 168, 1, 7),
            lease: 7200,
        }
    }

    fn orders() -> [Order; 5] {
        let port = number(3485);
        [
            Order::ExternalAddress,
            Order::Add(entry()),
            Order::AddAny(entry()),
            Order::Show(port),
            Order::Delete(port),
        ]
    }

    fn said(status: u16, body: &str) -> Answer {
        let envelope = format!(
            "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>{body}\
             </s:Body></s:Envelope>"
        );
        Answer {
            status,
            body: envelope.into_bytes(),
        }
    }

    fn done(order: Order, inner: &str) -> Answer {
        let name = order.name();
        said(
            200,
            &format!("<m:{name}Response>{inner}</m:{name}Response>"),
        )
    }

    fn fault(number: u16) -> Answer {
        said(
            500,
            &format!(
                "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring>\
                 <detail><UPnPError xmlns=\"urn:schemas-upnp-org:control-1-0\"><errorCode>{number}\
                 </errorCode><errorDescription>No</errorDescription></UPnPError></detail></s:Fault>"
            ),
        )
    }

    #[test]
    fn an_order_has_its_arguments_in_the_order_of_the_standard() {
        let envelope = Order::Add(entry()).envelope(Kind::Ip1);
        let names = [
            "<u:AddPortMapping xmlns:u=\"urn:schemas-upnp-org:service:WANIPConnection:1\">",
            "<NewRemoteHost></NewRemoteHost>",
            "<NewExternalPort>3485</NewExternalPort>",
            "<NewProtocol>UDP</NewProtocol>",
            "<NewInternalPort>3486</NewInternalPort>",
            "<NewInternalClient>192.168.1.7</NewInternalClient>",
            "<NewEnabled>1</NewEnabled>",
            "<NewPortMappingDescription>PeerConnect</NewPortMappingDescription>",
            "<NewLeaseDuration>7200</NewLeaseDuration>",
            "</u:AddPortMapping>",
        ];
        assert!(envelope.contains(&names.concat()), "{envelope}");
        let action = Order::Delete(number(1)).action(Kind::Ppp1);
        assert_eq!(
            action,
            "urn:schemas-upnp-org:service:WANPPPConnection:1#DeletePortMapping"
        );
        for order in orders() {
            let envelope = order.envelope(Kind::Ip2);
            let all = xml::read(envelope.as_bytes(), |_| ControlFlow::Continue(()));
            assert_eq!(all, Ok(()), "{envelope}");
        }
    }

    #[test]
    fn a_reply_is_what_was_asked_for() {
        let [address, add, any, show, delete] = orders();
        let ip = Ipv4Addr::new(203, 0, 113, 7);
        for (order, inner, reply) in [
            (add, "", Reply::Done),
            (delete, "", Reply::Done),
            (
                address,
                "<NewExternalIPAddress> 203.0.113.7 </NewExternalIPAddress>",
                Reply::Address(ip),
            ),
            (
                any,
                "<NewReservedPort>4000</NewReservedPort>",
                Reply::Reserved(number(4000)),
            ),
            (
                show,
                "<NewInternalPort>5</NewInternalPort>\
                 <NewInternalClient>203.0.113.7</NewInternalClient><NewEnabled>1</NewEnabled>",
                Reply::LeadsTo(ip, 5),
            ),
        ] {
            let mut answer = done(order, inner);
            assert_eq!(order.reply(&answer), Ok(reply));
            answer.body.extend(b"\0<junk");
            assert_eq!(
                order.reply(&answer),
                Ok(reply),
                "what comes after it does not matter"
            );
            answer.status = 302;
            assert_eq!(order.reply(&answer), Err(Refusal::Unclear));
        }
    }

    #[test]
    fn what_is_not_said_is_not_done() {
        let [address, add, any, show, delete] = orders();
        for (order, answer) in [
            (add, said(200, "")),
            (add, done(delete, "")),
            (add, said(200, "<m:AddPortMappingResponse>")),
            (address, done(address, "")),
            (
                address,
                done(address, "<NewExternalIPAddress>x</NewExternalIPAddress>"),
            ),
            (any, done(any, "<NewReservedPort>0</NewReservedPort>")),
            (show, done(show, "<NewInternalPort>5</NewInternalPort>")),
            (add, said(500, "")),
        ] {
            assert_eq!(order.reply(&answer), Err(Refusal::Unclear), "{answer:?}");
        }
        for (number, refusal) in [
            (718, Refusal::Taken(718)),
            (501, Refusal::Taken(501)),
            (725, Refusal::OnlyForGood),
            (714, Refusal::NoSuchEntry),
            (606, Refusal::Other(606)),
        ] {
            assert_eq!(add.reply(&fault(number)), Err(refusal));
        }
    }

    proptest! {
        #[test]
        fn no_answer_is_too_much(
            status in prop::sample::select(vec![200_u16, 500]),
            parts in prop::collection::vec(
                prop_oneof![
                    ".{0,9}",
                    "</?(m:AddPortMappingResponse|errorCode|NewReservedPort|a)>",
                    "[0-9]{1,6}",
                ],
                0..12,
            ),
        ) {
            let answer = said(status, &parts.concat());
            for order in orders() {
                let reply = order.reply(&answer);
                prop_assert!(reply.is_err() || status == 200);
            }
        }
    }
}
