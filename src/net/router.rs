//! The task of a connection: hands each stream that the peer opens to the one it is for.
//!
//! Every stream has a task of its own, so a slow one delays no other; their number is limited by
//! what QUIC lets the peer open.

use std::sync::Arc;
use std::time::Duration;

use quinn::{RecvStream, SendStream};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::acceptor::Arrival;
use super::admission::Admitted;
use super::code_link::QuicCode;
use super::connection::{CONTROL_PRIORITY, PeerConnection};
use super::errors::wire;
use super::file_stream::QuicFileReader;
use super::frames::FrameReader;
use super::link::{LinkError, Offence};
use super::pool::Shared;
use super::pull_link::QuicPulled;
use super::referrals;
use super::text_link::QuicText;
use super::transfer_link::{Control, QuicInbound};
use super::whereabouts;
use crate::protocol::frame::FrameError;
use crate::protocol::groups::FILE_SIZE_MAX;
use crate::protocol::message::{Code, FileHeader, Opening};
use crate::protocol::sessions::REFERRALS;

/// Time for the first frame of a stream, from its first byte on, if nothing else comes meanwhile.
pub const FIRST_FRAME_DEADLINE: Duration = Duration::from_secs(10);

/// Serves `connection` until it ends.
pub(super) async fn route(
    shared: Arc<Shared>,
    arrivals: mpsc::Sender<Arrival>,
    connection: PeerConnection,
    // Counts the connection as long as it is served.
    _admitted: Option<Admitted>,
) {
    let connected = Arrival::Connected(connection.clone());
    if arrivals.send(connected).await.is_err() {
        // Nobody is there to take anything.
        connection.close(Code::Done);
    }
    let mut streams = JoinSet::new();
    streams.spawn(whereabouts::talk(
        shared.clone(),
        arrivals.clone(),
        connection.clone(),
    ));
    loop {
        tokio::select! {
            opened = connection.quic().accept_bi() => match opened {
                Ok((send, recv)) => {
                    streams.spawn(transfer(arrivals.clone(), connection.clone(), send, recv));
                }
                Err(_) => break,
            },
            opened = connection.quic().accept_uni() => match opened {
                Ok(recv) => {
                    streams.spawn(file(connection.clone(), recv));
                }
                Err(_) => break,
            },
            Some(result) = streams.join_next(), if !streams.is_empty() => {
                if let Err(error) = result {
                    tracing::error!(%error, "the task of a stream failed");
                }
            }
        }
    }
    let reason = connection.closed().await;
    tracing::debug!(peer = %connection.id().short(), %reason, "disconnected");
    // First a place in the queue, then the decision: what is said is still true when it is said.
    match arrivals.reserve().await {
        Ok(place) => shared.abandon(&connection, || {
            place.send(Arrival::Disconnected(connection.id()));
        }),
        Err(_) => shared.abandon(&connection, || {}),
    }
}

/// A bidirectional stream: the control stream of a transfer, a text, content for another receiver,
/// or a one-time code.
async fn transfer(
    arrivals: mpsc::Sender<Arrival>,
    connection: PeerConnection,
    send: SendStream,
    recv: RecvStream,
) {
    let _ = send.set_priority(CONTROL_PRIORITY);
    let mut recv = FrameReader::new(recv);
    match first_frame(&mut recv, &connection).await {
        Ok(Opening::Transfer(head)) => {
            let link = QuicInbound::new(&connection, head, send, recv);
            let from = connection;
            // Without anybody to take it, it is dropped here, which closes the link.
            let _ = arrivals.send(Arrival::Transfer { from, link }).await;
        }
        Ok(Opening::Text(head)) => {
            let control = Control::new(connection.clone(), send, recv);
            match QuicText::new(head, control) {
                Ok(link) => {
                    let from = connection;
                    let _ = arrivals.send(Arrival::Text { from, link }).await;
                }
                Err(offence) => {
                    connection.offend(offence);
                }
            }
        }
        Ok(Opening::Pull(head)) => {
            // Content, not control: it must not come before everything else.
            let _ = send.set_priority(0);
            let link = QuicPulled::new(head, Control::new(connection.clone(), send, recv));
            let from = connection;
            let _ = arrivals.send(Arrival::Pull { from, link }).await;
        }
        Ok(Opening::Code(head)) => {
            let link = QuicCode::new(head, Control::new(connection.clone(), send, recv));
            let from = connection;
            let _ = arrivals.send(Arrival::Code { from, link }).await;
        }
        Ok(Opening::Connection(_) | Opening::Reconnection { .. }) => {
            connection.offend(Offence::UnexpectedMessage);
        }
        Err(error) => {
            connection.judged(error);
        }
    }
}

/// A unidirectional stream: a file, or several that come from elsewhere.
async fn file(connection: PeerConnection, recv: RecvStream) {
    let mut recv = FrameReader::new(recv);
    let header: FileHeader = match first_frame(&mut recv, &connection).await {
        Ok(header) => header,
        Err(error) => {
            connection.judged(error);
            return;
        }
    };
    if header.index == REFERRALS && connection.understands_referrals() {
        let received = async {
            // As it is now: what is late is not for the next link of this transfer.
            let open = connection.referrals_of(header.transfer);
            let files = frame_in_time(&mut recv, &connection).await?;
            referrals::receive(recv, header.transfer, files, open).await
        };
        if let Err(error) = received.await {
            connection.judged(error);
        }
        return;
    }
    if header.size > FILE_SIZE_MAX {
        connection.offend(Offence::FileTooLarge);
        return;
    }
    let (mut stream, rest) = recv.into_parts();
    let Some(files) = connection.files_of(header.transfer) else {
        let _ = stream.stop(wire(Code::UnknownTransfer));
        return;
    };
    let reader = QuicFileReader::new(connection, stream, rest, &header);
    if let Err(refused) = files.send((header, reader)).await {
        let (_, reader) = refused.0;
        super::link::FileReader::stop(reader, Code::UnknownTransfer);
    }
}

/// The first frame of a stream. The deadline begins with the first byte, because a stream exists
/// as soon as a later one is used.
async fn first_frame<M: DeserializeOwned>(
    recv: &mut FrameReader,
    connection: &PeerConnection,
) -> Result<M, LinkError> {
    recv.begin(connection).await?;
    frame_in_time(recv, connection).await
}

/// A frame that must come now. The deadline is extended while the peer sends anything at all,
/// because its other streams may take all of a narrow path.
async fn frame_in_time<M: DeserializeOwned>(
    recv: &mut FrameReader,
    connection: &PeerConnection,
) -> Result<M, LinkError> {
    let frames_received = || connection.quic().stats().frame_rx.stream;
    let mut before = frames_received();
    loop {
        match timeout(FIRST_FRAME_DEADLINE, recv.next(connection)).await {
            Ok(Ok(Some(message))) => return Ok(message),
            Ok(Ok(None)) => return Err(Offence::Frame(FrameError::Truncated).into()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let now = frames_received();
                if now == before {
                    return Err(Offence::Silent.into());
                }
                before = now;
            }
        }
    }
}
