//! Looks for the services of the router. This opens nothing.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use super::exchange::{Silence, exchange};
use super::url::Url;
use super::{Device, Router, description, http, ssdp};

/// How long it is looked for: a device may wait for a second after the last question, and has
/// time to describe itself. Less than the other protocols take where nobody answers.
const FIND_MAX: Duration = Duration::from_secs(5);
/// How long a description may take: there may be a better one.
const DESCRIBE_MAX: Duration = Duration::from_secs(2);
/// Pauses before the questions: the router alone, then everybody who may be one, then both again
/// in case something was lost. A router of another kind has answered before the second.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_millis(1000),
];
/// Most answers of the router that are looked at.
const ANSWERS_MAX: usize = 32;
/// Most places that are looked at.
const PLACES_MAX: usize = 4;
/// Routers between here and the one that may hear a question to all (UPnP Device Architecture 1.1,
/// section 1.3.2).
const HOPS: u32 = 2;

/// Looks for the router's services that open ports. `None` if it has none, or says nothing within
/// some seconds. Cancel-safe.
pub(in crate::net::mapping) async fn find(router: Router) -> Option<Device> {
    let found = timeout(FIND_MAX, look(router)).await;
    found.ok().flatten()
}

async fn look(router: Router) -> Option<Device> {
    let socket = open(router)
        .await
        .inspect_err(|error| tracing::debug!(%error, "cannot look for UPnP"))
        .ok()?;
    tokio::select! {
        found = listen(&socket, router) => found,
        () = ask(&socket, router) => None,
    }
}

async fn open(router: Router) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(router.client.into(), 0)).await?;
    let options = SockRef::from(&socket);
    options.set_multicast_if_v4(&router.client)?;
    options.set_multicast_ttl_v4(HOPS)?;
    options.set_multicast_loop_v4(false)?;
    Ok(socket)
}

/// Asks again and again; only an answer ends it.
async fn ask(socket: &UdpSocket, router: Router) {
    for (round, pause) in PAUSES.into_iter().enumerate() {
        sleep(pause).await;
        let (alone, all) = (SocketAddr::from(router.alone), SocketAddr::from(router.all));
        let whom: &[SocketAddr] = match round {
            0 => &[alone],
            1 => &[all],
            _ => &[alone, all],
        };
        for to in whom {
            for target in ssdp::TARGETS {
                let question = ssdp::question(target);
                if let Err(error) = socket.send_to(question.as_bytes(), to).await {
                    tracing::debug!(%error, "a question by UPnP was not sent");
                }
            }
        }
    }
    std::future::pending().await
}

/// Reads answers until one leads to services that open ports.
async fn listen(socket: &UdpSocket, router: Router) -> Option<Device> {
    let mut packet = vec![0; ssdp::ANSWER_LEN_MAX + 1];
    let mut places: Vec<Url> = Vec::new();
    let mut answers = 0;
    while answers < ANSWERS_MAX && places.len() < PLACES_MAX {
        // News of what was sent before is no reason to give up.
        let Ok((len, from)) = socket.recv_from(&mut packet).await else {
            answers += 1;
            continue;
        };
        // Anybody in the network can answer.
        if from.ip() != router.gateway {
            continue;
        }
        answers += 1;
        let location = ssdp::location(packet.get(..len)?, router.gateway);
        let Some(url) = location.filter(|url| !places.contains(url)) else {
            continue;
        };
        let device = describe(router, &url).await;
        if device.is_some() {
            return device;
        }
        places.push(url);
    }
    None
}

/// Reads what is at `url`; `None` if that opens no ports.
async fn describe(router: Router, url: &Url) -> Option<Device> {
    let question = http::get(url, router.gateway);
    let asked = exchange(router, url, &question, description::LEN_MAX);
    let answer = timeout(DESCRIBE_MAX, asked)
        .await
        .unwrap_or(Err(Silence::Late))
        .inspect_err(|error| tracing::debug!(%error, "the router does not describe itself"))
        .ok()?;
    if answer.status != 200 {
        tracing::debug!(answer.status, "the router does not describe itself");
        return None;
    }
    let services = description::services(&answer.body, url, router.gateway)
        .inspect_err(|error| tracing::debug!(%error, "the router describes itself badly"))
        .ok()?;
    (!services.is_empty()).then_some(Device { router, services })
}
