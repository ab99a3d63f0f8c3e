//! The control socket: how faces in other processes reach the node that runs.
//!
//! One JSON document per frame, `length: u32 big-endian` in front. A client says hello, is told
//! hello and the first picture, then sends commands and gets replies and pictures in any order.
//! A client that reads slowly misses pictures, never states: the next picture has them all. The
//! folder of the socket is its owner's alone, and so is the socket.
//!
//! Both ends turn into a [`NodeHandle`], so faces do not know whether the node is in their process.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::api::{Command, NodeHandle, Overview, REQUESTS_MAX, ReceiveRule, Reply, Request};
use crate::config::{Paths, create_private_dir};
use crate::fault::Fault;

/// Version of the frames here. Both ends are on one computer: they agree or part.
const CONTROL_VERSION: u32 = 3;

/// Largest frame: a picture of some thousand transfers with all their names.
const FRAME_MAX: usize = 16 * 1024 * 1024;

/// Most clients at once: a window, a daemon's watcher and some commands.
pub const CLIENTS_MAX: usize = 16;

/// Commands of one client that may be under way at once.
const COMMANDS_MAX: usize = 32;

/// Least time between two pictures to one client.
const PICTURE_PAUSE: Duration = Duration::from_millis(100);

/// How long the other end may take to say hello.
const HELLO_WAIT: Duration = Duration::from_secs(5);

/// How long a client may leave its socket full before it is let go.
const WRITE_WAIT: Duration = Duration::from_secs(30);

/// How long clients are waited for when the node ends, so that they get their last reply.
const GOODBYE_WAIT: Duration = Duration::from_millis(500);

/// Frames of a client.
#[derive(Debug, Serialize, Deserialize)]
enum ToNode {
    /// First frame.
    Hello { version: u32 },
    /// Carry out a command; the reply has the same `id`.
    Command { id: u64, command: Command },
}

/// Frames of the node.
#[derive(Debug, Serialize, Deserialize)]
enum FromNode {
    /// First frame.
    Hello { version: u32, pid: u32 },
    /// What became of a command.
    Reply {
        id: u64,
        result: Result<Reply, Fault>,
    },
    /// The node as it is now.
    Overview(Arc<Overview>),
}

/// A socket that listens for faces. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct ControlListener {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "control socket was gone already");
        }
    }
}

/// Opens the control socket. Call this as the holder of the installation's lock, inside a tokio
/// runtime. The file that a dead process left is replaced; [`io::ErrorKind::AddrInUse`] if
/// somebody answers there.
pub fn bind(paths: &Paths) -> io::Result<ControlListener> {
    let path = paths.control_socket();
    create_private_dir(&paths.runtime)?;
    match std::os::unix::net::UnixStream::connect(&path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => std::fs::remove_file(&path)?,
    }
    let listener = UnixListener::bind(&path)?;
    let listener = ControlListener { listener, path };
    only_for_owner(&listener.path)?;
    Ok(listener)
}

fn only_for_owner(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

/// Serves faces until the node ends. Drop it to end at once.
pub async fn serve(listener: ControlListener, node: NodeHandle) {
    let mut clients = JoinSet::new();
    let mut overview = node.overview();
    loop {
        tokio::select! {
            accepted = listener.listener.accept() => match accepted {
                Ok((stream, _)) if clients.len() < CLIENTS_MAX && is_ours(&stream) => {
                    clients.spawn(serve_client(stream, node.clone()));
                }
                Ok(_) => tracing::info!("a face was turned away"),
                Err(error) => {
                    // Out of file descriptors, most likely: others must close some first.
                    tracing::warn!(%error, "control socket");
                    tokio::time::sleep(PICTURE_PAUSE).await;
                }
            },
            Some(_) = clients.join_next() => {}
            // Pictures go to the clients; here only the end of the node matters.
            ended = overview.changed() => if ended.is_err() { break },
        }
    }
    let goodbye = async { while clients.join_next().await.is_some() {} };
    if timeout(GOODBYE_WAIT, goodbye).await.is_err() {
        tracing::debug!("a face did not take its last reply");
    }
}

/// Whether the other process is of our user, or root.
fn is_ours(stream: &UnixStream) -> bool {
    let us = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|them| them.uid() == us || them.uid() == 0)
}

async fn serve_client(stream: UnixStream, node: NodeHandle) {
    let (from, to) = stream.into_split();
    let (mut from, mut to) = (FrameReader::new(from), FrameWriter(to));
    let hello = FromNode::Hello {
        version: CONTROL_VERSION,
        pid: std::process::id(),
    };
    let greeting = async {
        to.write(&hello).await?;
        from.next::<ToNode>().await
    };
    match timeout(HELLO_WAIT, greeting).await {
        Ok(Ok(Some(ToNode::Hello {
            version: CONTROL_VERSION,
        }))) => {}
        Ok(Ok(_)) | Ok(Err(_)) | Err(_) => {
            tracing::debug!("a face did not say hello as we do");
            return;
        }
    }
    let (replies, outgoing) = mpsc::channel(COMMANDS_MAX);
    let overview = node.overview();
    let mut expected = None;
    let end = tokio::select! {
        end = take_commands(from, &node, replies, &mut expected) => end,
        end = send_frames(to, overview, outgoing) => end,
    };
    if let Some(rule) = expected {
        // It must not be what the next offer goes by. Without a node there is none.
        let _ = node.call(Command::ExpectNoMore(rule)).await;
    }
    if let Err(error) = end {
        tracing::debug!(%error, "a face was let go");
    }
}

/// Reads commands and carries out some at a time. Ends when the client closes its end and every
/// reply is handed over, or with an error. `expected` is what the client waits for, if anything.
async fn take_commands<R: AsyncRead + Unpin>(
    mut from: FrameReader<R>,
    node: &NodeHandle,
    replies: mpsc::Sender<FromNode>,
    expected: &mut Option<ReceiveRule>,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(COMMANDS_MAX));
    let mut running = JoinSet::new();
    // As long as the client is connected.
    let mut attendance = None;
    loop {
        let permit = Arc::clone(&room).acquire_owned().await;
        let next = loop {
            tokio::select! {
                next = from.next() => break next?,
                Some(_) = running.join_next() => {}
            }
        };
        match next {
            Some(ToNode::Command {
                id,
                command: command @ (Command::Attend | Command::Leave),
            }) => {
                attendance = (command == Command::Attend)
                    .then(|| attendance.take().unwrap_or_else(|| node.people().attend()));
                let result = Ok(Reply::Done);
                let _ = replies.send(FromNode::Reply { id, result }).await;
            }
            Some(ToNode::Command { id, command }) => {
                if let Command::Expect(rule) = &command {
                    *expected = Some(rule.clone());
                }
                let (node, replies) = (node.clone(), replies.clone());
                running.spawn(async move {
                    let result = node.call(command).await;
                    // Fails only if the client has gone.
                    let _ = replies.send(FromNode::Reply { id, result }).await;
                    drop(permit);
                });
            }
            Some(ToNode::Hello { .. }) => return Err(io::ErrorKind::InvalidData.into()),
            None => break,
        }
    }
    while running.join_next().await.is_some() {}
    Ok(())
}

/// Writes replies, and a picture whenever there is a new one and the last is not too fresh.
/// Ends when the node has ended and every reply is written, or with an error.
async fn send_frames<W: AsyncWrite + Unpin>(
    mut to: FrameWriter<W>,
    mut overview: watch::Receiver<Arc<Overview>>,
    mut replies: mpsc::Receiver<FromNode>,
) -> io::Result<()> {
    overview.mark_changed();
    let mut pause = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
    loop {
        tokio::select! {
            Some(reply) = replies.recv() => to.write(&reply).await?,
            changed = async { pause.as_mut().await; overview.changed().await } => {
                if changed.is_err() {
                    break;
                }
                let picture = Arc::clone(&overview.borrow_and_update());
                to.write(&FromNode::Overview(picture)).await?;
                pause.as_mut().reset(tokio::time::Instant::now() + PICTURE_PAUSE);
            }
        }
    }
    // The node has answered what it was asked, or will not any more.
    while let Ok(Some(reply)) = timeout(PICTURE_PAUSE, replies.recv()).await {
        to.write(&reply).await?;
    }
    Ok(())
}

/// Reaches the instance that runs with these folders; `None` if there is none. The handle works
/// like one in the same process: its pictures end when the instance does. Must be called inside
/// a tokio runtime, on which a task lives as long as the handle and its copies.
pub async fn connect(paths: &Paths) -> io::Result<Option<NodeHandle>> {
    let stream = match UnixStream::connect(paths.control_socket()).await {
        Ok(stream) => stream,
        Err(error) if is_nobody(error.kind()) => return Ok(None),
        // Our own user made the folder, or it is not ours.
        Err(error) => return Err(error),
    };
    let (from, to) = stream.into_split();
    let (mut from, mut to) = (FrameReader::new(from), FrameWriter(to));
    let greeted = timeout(HELLO_WAIT, greet(&mut from, &mut to)).await;
    let first = match greeted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(first) => first,
        Err(error) if is_leaving(error.kind()) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (handle, requests, pictures) = NodeHandle::new(Arc::unwrap_or_clone(first));
    tokio::spawn(proxy(from, to, requests, pictures));
    Ok(Some(handle))
}

/// Whether a connection failed because no process is there.
fn is_nobody(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

/// Whether a connection broke because the process there was just ending.
fn is_leaving(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

async fn greet<R, W>(
    from: &mut FrameReader<R>,
    to: &mut FrameWriter<W>,
) -> io::Result<Arc<Overview>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let other = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    match from.next().await? {
        Some(FromNode::Hello { version, .. }) if version == CONTROL_VERSION => {}
        Some(FromNode::Hello { pid, .. }) => {
            let what = format!("another version of PeerConnect is running (process {pid})");
            return other(&what);
        }
        Some(FromNode::Reply { .. } | FromNode::Overview(_)) => return other("no hello"),
        None => return other("the running instance is busy with too many commands"),
    }
    let version = CONTROL_VERSION;
    to.write(&ToNode::Hello { version }).await?;
    match from.next().await? {
        Some(FromNode::Overview(overview)) => Ok(overview),
        Some(FromNode::Hello { .. } | FromNode::Reply { .. }) => other("no picture"),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Commands that wait for their replies, by their ids.
type Waiting = Mutex<HashMap<u64, oneshot::Sender<Result<Reply, Fault>>>>;

/// Carries requests to the socket and replies and pictures back, until either end closes. Reading
/// and writing go on independently, so that two full buffers never wait for each other.
async fn proxy<R, W>(
    from: FrameReader<R>,
    to: FrameWriter<W>,
    requests: mpsc::Receiver<Request>,
    pictures: watch::Sender<Arc<Overview>>,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let waiting = Waiting::default();
    let room = Semaphore::new(REQUESTS_MAX);
    let end = tokio::select! {
        end = forward_requests(to, requests, &waiting, &room) => end,
        end = take_frames(from, pictures, &waiting, &room) => end,
    };
    if let Err(error) = end {
        tracing::debug!(%error, "the running instance is gone");
    }
}

async fn forward_requests<W: AsyncWrite + Unpin>(
    mut to: FrameWriter<W>,
    mut requests: mpsc::Receiver<Request>,
    waiting: &Waiting,
    room: &Semaphore,
) -> io::Result<()> {
    let mut id = 0;
    while let Some((command, reply)) = requests.recv().await {
        if let Ok(permit) = room.acquire().await {
            permit.forget();
        }
        id += 1;
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, reply);
        match to.write(&ToNode::Command { id, command }).await {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                // Too long for a frame; nothing was written, so only this one fails.
                let fault = Fault::Invalid {
                    why: "That is too much at once".into(),
                };
                answer(waiting, room, id, Err(fault));
            }
            Err(error) => return Err(error),
            Ok(()) => {}
        }
    }
    Ok(())
}

async fn take_frames<R: AsyncRead + Unpin>(
    mut from: FrameReader<R>,
    pictures: watch::Sender<Arc<Overview>>,
    waiting: &Waiting,
    room: &Semaphore,
) -> io::Result<()> {
    while let Some(frame) = from.next().await? {
        match frame {
            FromNode::Overview(picture) => {
                pictures.send_replace(picture);
            }
            FromNode::Reply { id, result } => answer(waiting, room, id, result),
            FromNode::Hello { .. } => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(())
}

fn answer(waiting: &Waiting, room: &Semaphore, id: u64, result: Result<Reply, Fault>) {
    let mut map = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(reply) = map.remove(&id) {
        room.add_permits(1);
        // Whoever asked may have gone.
        let _ = reply.send(result);
    }
}

/// Splits a byte stream into frames.
struct FrameReader<R> {
    from: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    fn new(from: R) -> Self {
        let buffer = BytesMut::new();
        Self { from, buffer }
    }

    /// The next frame; `None` at the end of the stream. Cancel-safe.
    async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some((head, _)) = self.buffer.split_first_chunk::<4>() {
                let len = u32::from_be_bytes(*head) as usize;
                if len > FRAME_MAX {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
                }
                if self.buffer.len() >= 4 + len {
                    self.buffer.advance(4);
                    let frame = self.buffer.split_to(len);
                    return serde_json::from_slice(&frame).map(Some).map_err(Into::into);
                }
            }
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }
}

struct FrameWriter<W>(W);

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes a frame; not cancel-safe. [`io::ErrorKind::InvalidInput`] if it is too long, and
    /// then nothing has been written.
    async fn write<T: Serialize>(&mut self, frame: &T) -> io::Result<()> {
        let mut bytes = vec![0; 4];
        serde_json::to_writer(&mut bytes, frame)?;
        let len = bytes.len() - 4;
        if len > FRAME_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "frame too long",
            ));
        }
        if let Some(head) = bytes.first_chunk_mut() {
            *head = (len as u32).to_be_bytes();
        }
        timeout(WRITE_WAIT, self.0.write_all(&bytes))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
