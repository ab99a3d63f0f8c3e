//! A router in this process that speaks UPnP, well or badly.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener as Listener};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::super::*;

pub(super) const ROUTER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Another device of the network.
pub(super) const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// What is done instead of what should be.
#[derive(Debug, Clone)]
pub(super) enum Odd {
    Say(String),
    /// The beginning of something that never ends.
    Endless(String),
    /// Nothing is said any more, whatever was done before. Time flies until the other side gives
    /// up.
    Hang,
}

/// An answer to the question who is there.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) from: Ipv4Addr,
    pub(super) packet: String,
}

/// What the router has and does.
#[derive(Debug)]
pub(super) struct Igd {
    pub(super) kinds: Vec<Kind>,
    /// Its address in the Internet, for each of the services.
    pub(super) ips: Vec<&'static str>,
    pub(super) is_chunked: bool,
    pub(super) is_for_good_only: bool,
    /// Where it takes orders.
    pub(super) control: &'static str,
    /// Ports that nobody gets from now on.
    pub(super) kept: Vec<u16>,
    /// Port, client, its port, lease.
    pub(super) entries: BTreeMap<u16, (String, u16, u32)>,
    /// What happens instead, by path or name of the order.
    pub(super) odd: BTreeMap<&'static str, Odd>,
    /// What was asked, by path and by name of the order with its port.
    pub(super) asked: Vec<String>,
    /// What is sent before its own answer.
    pub(super) told: Vec<Told>,
    /// How many bytes of something endless were taken.
    pub(super) taken: usize,
}

pub(super) struct Fake {
    pub(super) router: Router,
    igd: Arc<Mutex<Igd>>,
    _tasks: JoinSet<()>,
}

impl Fake {
    /// A good one with a service of this kind.
    pub(super) async fn new(kind: Kind) -> Self {
        let udp = UdpSocket::bind((ROUTER, 0)).await.unwrap();
        let other = UdpSocket::bind((OTHER, 0)).await.unwrap();
        let tcp = TcpListener::bind((ROUTER, 0)).await.unwrap();
        let at = SocketAddrV4::new(ROUTER, udp.local_addr().unwrap().port());
        let http = tcp.local_addr().unwrap().port();
        let igd = Arc::new(Mutex::new(Igd {
            kinds: vec![kind],
            ips: vec!["203.0.113.7"],
            is_chunked: false,
            is_for_good_only: false,
            control: "/ctl",
            kept: Vec::new(),
            entries: BTreeMap::new(),
            odd: BTreeMap::new(),
            asked: Vec::new(),
            told: Vec::new(),
            taken: 0,
        }));
        let mut tasks = JoinSet::new();
        tasks.spawn(tell(udp, other, http, igd.clone()));
        tasks.spawn(serve(tcp, igd.clone()));
        let router = Router {
            gateway: ROUTER,
            client: CLIENT,
            alone: at,
            all: at,
        };
        Self {
            router,
            igd,
            _tasks: tasks,
        }
    }

    pub(super) fn igd(&self) -> MutexGuard<'_, Igd> {
        self.igd.lock().unwrap()
    }

    /// What was asked since the last time.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.igd().asked)
    }
}

/// An answer that says where the description is.
pub(super) fn located(location: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nEXT:\r\nLOCATION: {location}\r\n\r\n")
}

async fn tell(udp: UdpSocket, other: UdpSocket, http: u16, igd: Arc<Mutex<Igd>>) {
    let mut packet = [0; 2048];
    loop {
        let (len, from) = udp.recv_from(&mut packet).await.unwrap();
        let question = String::from_utf8(packet[..len].to_vec()).unwrap();
        assert!(
            question.starts_with("M-SEARCH * HTTP/1.1\r\n"),
            "{question}"
        );
        let told = std::mem::take(&mut igd.lock().unwrap().told);
        for one in told {
            let socket = if one.from == ROUTER { &udp } else { &other };
            let packet = one.packet.replace("{http}", &http.to_string());
            socket.send_to(packet.as_bytes(), from).await.unwrap();
        }
        let own = located(&format!("http://{ROUTER}:{http}/root.xml"));
        udp.send_to(own.as_bytes(), from).await.unwrap();
    }
}

async fn serve(tcp: TcpListener, igd: Arc<Mutex<Igd>>) {
    loop {
        let (mut stream, from) = tcp.accept().await.unwrap();
        assert_eq!(from.ip(), CLIENT);
        let (head, body) = request(&mut stream).await;
        let reply = igd.lock().unwrap().reply(&head, &body);
        match reply {
            Odd::Say(text) => {
                // Whoever has heard enough is gone.
                let _ = stream.write_all(text.as_bytes()).await;
            }
            Odd::Endless(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                while stream.write_all(&[b'x'; 1000]).await.is_ok() {
                    igd.lock().unwrap().taken += 1000;
                }
            }
            Odd::Hang => {
                tokio::time::pause();
                let _ = stream.read(&mut [0]).await;
                tokio::time::resume();
            }
        }
    }
}

async fn request(stream: &mut TcpStream) -> (String, String) {
    let mut all = Vec::new();
    loop {
        let mut part = [0; 4096];
        let len = stream.read(&mut part).await.unwrap();
        all.extend_from_slice(&part[..len]);
        let text = String::from_utf8(all.clone()).unwrap();
        assert!(len > 0, "broken off: {text}");
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.split("Content-Length: ").nth(1);
        let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
        if body.len() == length.unwrap_or(0) {
            return (head.to_owned(), body.to_owned());
        }
    }
}

fn field<'a>(body: &'a str, name: &str) -> &'a str {
    let begin = body.split(&format!("<New{name}>")).nth(1);
    let begin = begin.unwrap_or_else(|| panic!("{name} in {body}"));
    begin.split("</").next().unwrap()
}

impl Igd {
    fn reply(&mut self, head: &str, body: &str) -> Odd {
        let path = head.split(' ').nth(1).unwrap();
        let Some(action) = head.split("SOAPAction: \"").nth(1) else {
            self.asked.push(path.to_owned());
            let odd = self.odd.get(path).cloned();
            return odd.unwrap_or_else(|| match path {
                "/root.xml" => self.say(200, &self.description()),
                _ => self.say(404, ""),
            });
        };
        let (kind, order) = action.split_once('#').unwrap();
        let order = order.split('"').next().unwrap();
        let service = self.kinds.iter().position(|known| known.name() == kind);
        let done = self.obey(order, service.unwrap(), body);
        if !path.starts_with(self.control) {
            return self.say(404, "");
        }
        let reply = match done {
            Ok(inner) => {
                let inner =
                    format!("<u:{order}Response xmlns:u=\"{kind}\">{inner}</u:{order}Response>");
                self.say(200, &envelope(&inner))
            }
            Err(number) => self.say(500, &envelope(&fault(number))),
        };
        let order = [
            "AddPortMapping",
            "GetExternalIPAddress",
            "DeletePortMapping",
        ]
        .into_iter()
        .find(|known| *known == order);
        order
            .and_then(|order| self.odd.get(order).cloned())
            .unwrap_or(reply)
    }

    /// What it says to an order, or the number of the error.
    fn obey(&mut self, order: &str, service: usize, body: &str) -> Result<String, u16> {
        if order == "GetExternalIPAddress" {
            self.asked.push(order.to_owned());
            let ip = self.ips[service];
            return Ok(format!("<NewExternalIPAddress>{ip}</NewExternalIPAddress>"));
        }
        let mut port: u16 = field(body, "ExternalPort").parse().unwrap();
        self.asked.push(format!("{order} {port}"));
        assert_eq!(
            (field(body, "Protocol"), field(body, "RemoteHost")),
            ("UDP", "")
        );
        match order {
            "GetSpecificPortMappingEntry" => {
                let (client, inside, lease) = self.entries.get(&port).ok_or(714_u16)?;
                Ok(format!(
                    "<NewInternalPort>{inside}</NewInternalPort><NewInternalClient>{client}\
                     </NewInternalClient><NewEnabled>1</NewEnabled>\
                     <NewPortMappingDescription>x</NewPortMappingDescription>\
                     <NewLeaseDuration>{lease}</NewLeaseDuration>"
                ))
            }
            "DeletePortMapping" => {
                self.entries.remove(&port).ok_or(714_u16)?;
                Ok(String::new())
            }
            "AddPortMapping" | "AddAnyPortMapping" => {
                assert_eq!(field(body, "PortMappingDescription"), "PeerConnect");
                let client = field(body, "InternalClient").to_owned();
                let inside = field(body, "InternalPort").parse().unwrap();
                let lease = field(body, "LeaseDuration").parse().unwrap();
                if self.is_for_good_only && lease != 0 {
                    return Err(725);
                }
                let is_any = order == "AddAnyPortMapping";
                let is_taken = |igd: &Self, port: u16| {
                    let entry = igd.entries.get(&port);
                    igd.kept.contains(&port) || entry.is_some_and(|(owner, ..)| *owner != client)
                };
                while is_any && is_taken(self, port) {
                    port += 1;
                }
                if is_taken(self, port) {
                    return Err(718);
                }
                self.entries.insert(port, (client, inside, lease));
                Ok(match is_any {
                    true => format!("<NewReservedPort>{port}</NewReservedPort>"),
                    false => String::new(),
                })
            }
            _ => Err(401),
        }
    }

    fn description(&self) -> String {
        let control = self.control;
        let service = |(n, kind): (usize, &Kind)| {
            format!(
                "<service><serviceType>{}</serviceType><controlURL>{control}/{n}</controlURL>\
                 </service>",
                kind.name()
            )
        };
        let services: String = self.kinds.iter().enumerate().map(service).collect();
        format!(
            "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device>\
             <serviceList>{services}</serviceList></device></root>"
        )
    }

    fn say(&self, status: u16, body: &str) -> Odd {
        let head = format!("HTTP/1.1 {status} X\r\n");
        Odd::Say(match self.is_chunked {
            true => {
                let (one, two) = body.split_at(body.len() / 2);
                let chunk = |text: &str| match text.len() {
                    0 => String::new(),
                    len => format!("{len:X}\r\n{text}\r\n"),
                };
                let chunks = [one, two].map(chunk).concat();
                format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
            }
            false => format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()),
        })
    }
}

fn envelope(inner: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\">\
         <s:Body>{inner}</s:Body></s:Envelope>"
    )
}

fn fault(number: u16) -> String {
    format!(
        "<s:Fault><faultcode>s:Client</faultcode><detail><UPnPError><errorCode>{number}\
         </errorCode></UPnPError></detail></s:Fault>"
    )
}

/// A device that nobody may talk to.
pub(super) struct Elsewhere(Listener);

impl Elsewhere {
    pub(super) fn new() -> Self {
        let listener = Listener::bind((OTHER, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/root.xml", self.0.local_addr().unwrap())
    }

    pub(super) fn is_left_alone(&self) -> bool {
        let came = self.0.accept();
        came.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

pub(super) fn wanted() -> Wanted {
    let port = |number| NonZeroU16::new(number).unwrap();
    Wanted {
        inside: port(3485),
        outside: port(3485),
        spares: [50001, 50002, 50003].map(port),
        lifetime: 7200,
    }
}
