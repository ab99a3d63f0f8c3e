//! One question to the router by HTTP, and its answer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::Router;
use super::http::{Answer, Incoming, Unreadable};
use super::url::Url;

/// How long an answer may take, with the connection. Some routers load their rules anew for it.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(4);
/// How much is read at once.
const READ_LEN: usize = 4096;

/// Why there is no answer. What was asked for may have been done all the same.
#[derive(Debug, thiserror::Error)]
pub(super) enum Silence {
    /// The router does not talk to us, or stopped in the middle.
    #[error(transparent)]
    Network(#[from] io::Error),
    /// It takes too long.
    #[error("no answer in time")]
    Late,
    /// It is not one.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// Asks, on a connection of its own; the body of the answer has `body_max` bytes at most. Whoever
/// drops it does not know whether the router has heard it.
pub(super) async fn exchange(
    router: Router,
    url: &Url,
    question: &[u8],
    body_max: usize,
) -> Result<Answer, Silence> {
    let asked = timeout(ANSWER_MAX, ask(router, url, question, body_max)).await;
    asked.unwrap_or(Err(Silence::Late))
}

async fn ask(
    router: Router,
    url: &Url,
    question: &[u8],
    body_max: usize,
) -> Result<Answer, Silence> {
    let socket = TcpSocket::new_v4()?;
    // Routers open ports for who asks, and know him by his address.
    socket.bind(SocketAddr::new(router.client.into(), 0))?;
    let server = SocketAddr::new(router.gateway.into(), url.port);
    let mut stream = socket.connect(server).await?;
    stream.write_all(question).await?;
    let mut incoming = Incoming::new(body_max);
    let mut part = vec![0; READ_LEN];
    loop {
        let len = stream.read(&mut part).await?;
        let is_all = incoming.push(part.get(..len).unwrap_or_default())?;
        if is_all || len == 0 {
            return Ok(incoming.end()?);
        }
    }
}
