//! What a router says by UPnP, or who says to be one: nothing in it leads to anybody else, and
//! nothing is longer than allowed.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use peerconnect::net::upnp::description::{self, SERVICES_MAX};
use peerconnect::net::upnp::http::{Answer, Incoming, Unreadable};
use peerconnect::net::upnp::soap::{Entry, Order, Reply};
use peerconnect::net::upnp::ssdp;
use peerconnect::net::upnp::url::{PATH_LEN_MAX, Url};

const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const BODY_MAX: usize = 1024;

/// The first byte says what the others are.
pub fn upnp(data: &[u8]) {
    let Some(([kind, cut], bytes)) = data.split_first_chunk::<2>() else {
        return;
    };
    match kind % 5 {
        0 => {
            if let Some(url) = ssdp::location(bytes, ROUTER) {
                is_at_the_router(&url);
            }
        }
        1 => answer(bytes, usize::from(*cut).max(1)),
        2 => description(bytes),
        3 => orders(200, bytes),
        _ => orders(500, bytes),
    }
}

/// It can be written into a head without ending a line.
fn is_at_the_router(url: &Url) {
    assert!(url.port != 0 && url.path.starts_with('/') && url.path.len() <= PATH_LEN_MAX);
    assert!(url.path.bytes().all(|byte| byte.is_ascii_graphic()));
    let Url { port, path } = url;
    let text = format!("http://{ROUTER}:{port}{path}");
    assert_eq!(Url::absolute(&text, ROUTER).as_ref(), Some(url));
}

fn read(bytes: &[u8], step: usize) -> Result<Answer, Unreadable> {
    let mut incoming = Incoming::new(BODY_MAX);
    for part in bytes.chunks(step) {
        if incoming.push(part)? {
            break;
        }
    }
    incoming.end()
}

/// The same however it is cut.
fn answer(bytes: &[u8], step: usize) {
    let whole = read(bytes, bytes.len().max(1));
    if let Ok(answer) = &whole {
        assert!(answer.body.len() <= BODY_MAX);
    }
    match (whole, read(bytes, step)) {
        (Ok(whole), Ok(cut)) => assert_eq!(whole, cut),
        (Err(_), Err(_)) => {}
        (whole, cut) => panic!("{whole:?} and {cut:?}"),
    }
}

fn description(bytes: &[u8]) {
    let url = Url {
        port: 5000,
        path: "/igd/root.xml".into(),
    };
    let Ok(services) = description::services(bytes, &url, ROUTER) else {
        return;
    };
    assert!(services.len() <= SERVICES_MAX);
    for service in services {
        is_at_the_router(&service.control);
    }
}

fn orders(status: u16, bytes: &[u8]) {
    let port = NonZeroU16::MIN;
    let entry = Entry {
        outside: port,
        inside: port,
        client: ROUTER,
        lease: 0,
    };
    let answer = Answer {
        status,
        body: bytes.to_vec(),
    };
    for order in [
        Order::ExternalAddress,
        Order::Add(entry),
        Order::AddAny(entry),
        Order::Show(port),
        Order::Delete(port),
    ] {
        let fits = match (order, order.reply(&answer)) {
            (_, Err(_))
            | (Order::ExternalAddress, Ok(Reply::Address(_)))
            | (Order::AddAny(_), Ok(Reply::Reserved(_)))
            | (Order::Show(_), Ok(Reply::LeadsTo(..)))
            | (Order::Add(_) | Order::Delete(_), Ok(Reply::Done)) => true,
            (_, Ok(_)) => false,
        };
        assert!(fits, "{order:?}");
    }
}
