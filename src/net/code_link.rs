//! The stream of a one-time code: both sides show each other that they know it, and nobody who
//! does not know it learns more than that his one guess was wrong.
//!
//! The side where the code was typed shows its proof first, so a wrong guess is seen by the side
//! that made the code before anything can be learned from it.

use std::time::Duration;

use quinn::SendStream;
use tokio::time::timeout;

use super::connection::{CONTROL_PRIORITY, PeerConnection};
use super::frames::{self, FrameReader};
use super::link::{LinkError, Offence};
use super::transfer_link::Control;
use crate::peer::PeerId;
use crate::protocol::codes::{CodeHead, CodeMade, CodeTyped, OneTimeCode};
use crate::protocol::message::{Code, Opening, TransferId};
use crate::protocol::pake::{self, Binding, Peers, Proof, Side};

/// How long the other side may take for each message.
pub const STEP_DEADLINE: Duration = Duration::from_secs(10);

/// Label of the TLS exporter (RFC 8446, section 7.5).
const BINDING_LABEL: &[u8] = b"EXPORTER-peerconnect-code";

/// Why a code that was typed is good for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// The other side does not know the words, or says that they are wrong: it has seen a guess.
    #[error("the code is wrong")]
    Wrong,
    /// The other side has no code with this number. It was shown nothing.
    #[error("there is no such code")]
    Denied,
    /// The other side knows no codes.
    #[error("the program there knows no codes")]
    Unknown,
    /// The connection or its other side failed.
    #[error(transparent)]
    Link(#[from] LinkError),
}

fn binding(connection: &PeerConnection) -> Result<Binding, LinkError> {
    let mut binding = Binding::default();
    let exported = connection
        .quic()
        .export_keying_material(&mut binding, BINDING_LABEL, &[]);
    match exported {
        Ok(()) => Ok(binding),
        Err(_) => Err(LinkError::Lost("nothing can be exported".into())),
    }
}

async fn in_time<T>(step: impl Future<Output = Result<T, LinkError>>) -> Result<T, LinkError> {
    match timeout(STEP_DEADLINE, step).await {
        Ok(done) => done,
        Err(_) => Err(LinkError::Lost("the other side is silent".into())),
    }
}

/// The end where the code was made. Dropping it breaks the exchange off.
#[derive(Debug)]
pub struct QuicCode {
    pub(super) head: CodeHead,
    pub(super) control: Control,
}

impl QuicCode {
    pub(super) fn new(head: CodeHead, control: Control) -> Self {
        Self { head, control }
    }

    /// The number that was typed.
    pub fn number(&self) -> u16 {
        self.head.number
    }

    /// Finds out whether the other side knows `code`, which `us` has made.
    pub async fn hear(self, code: &OneTimeCode, us: PeerId) -> Result<Guess, LinkError> {
        let Self { head, mut control } = self;
        let peers = Peers {
            made: us,
            typed: control.connection().id(),
        };
        let binding = binding(control.connection())?;
        let (begun, share) = pake::begin(Side::Made, code, peers);
        let Some(proofs) = begun.finish(head.share, &binding) else {
            return Err(control.judged(Offence::UnexpectedMessage.into()));
        };
        in_time(control.send(&CodeMade::Share(share))).await?;
        match in_time(control.recv()).await? {
            CodeTyped::Proof(proof) => Ok(Guess {
                right: proof == proofs.typed,
                proof: proofs.made,
                control,
            }),
            CodeTyped::Ready => Err(control.judged(Offence::UnexpectedMessage.into())),
        }
    }

    /// There is no such code.
    pub async fn deny(mut self) {
        deny(&mut self.control).await;
    }

    /// There is too much to do.
    pub async fn refuse(mut self, code: Code) {
        self.control.close(code).await;
    }
}

async fn deny(control: &mut Control) {
    // Whoever does not hear it sees the end of the stream.
    let _ = in_time(control.send(&CodeMade::No)).await;
    control.close(Code::Done).await;
}

/// A guess that was made, to be answered once.
#[derive(Debug)]
pub struct Guess {
    right: bool,
    proof: Proof,
    control: Control,
}

impl Guess {
    /// Whether it is the code.
    pub fn is_right(&self) -> bool {
        self.right
    }

    /// Shows that this side knows the code, too; waits until the other side takes `transfer`.
    /// Nobody else than who guessed right gets that far.
    pub async fn admit(mut self, transfer: TransferId) -> Result<(), LinkError> {
        if !self.right {
            deny(&mut self.control).await;
            return Err(LinkError::Lost("a wrong code".into()));
        }
        let proof = CodeMade::Proof {
            proof: self.proof,
            transfer,
        };
        in_time(self.control.send(&proof)).await?;
        match in_time(self.control.recv()).await? {
            CodeTyped::Ready => {
                self.control.close(Code::Done).await;
                Ok(())
            }
            CodeTyped::Proof(_) => Err(self.control.judged(Offence::UnexpectedMessage.into())),
        }
    }

    /// It is wrong, or comes too late.
    pub async fn deny(mut self) {
        deny(&mut self.control).await;
    }
}

/// The end where the code was typed, when both sides have shown that they know it.
#[derive(Debug)]
pub struct Proven {
    transfer: TransferId,
    control: Control,
}

impl Proven {
    /// What the other side will offer.
    pub fn transfer(&self) -> TransferId {
        self.transfer
    }

    /// It may be offered now.
    pub async fn ready(mut self) -> Result<(), LinkError> {
        in_time(self.control.send(&CodeTyped::Ready)).await?;
        self.control.close(Code::Done).await;
        Ok(())
    }
}

impl PeerConnection {
    /// Shows the peer that `us` knows `code`, and has it show the same. Cancel-safe: what was
    /// begun is given up, and the code is good as long as no proof was sent. From then on whatever
    /// goes wrong is [`NotProven::Wrong`].
    pub async fn prove(&self, code: &OneTimeCode, us: PeerId) -> Result<Proven, NotProven> {
        if !self.understands_codes() {
            return Err(NotProven::Unknown);
        }
        let peers = Peers {
            made: self.id(),
            typed: us,
        };
        let binding = binding(self)?;
        let (begun, share) = pake::begin(Side::Typed, code, peers);
        let head = CodeHead {
            number: code.number(),
            share,
        };
        let mut control = in_time(self.open_code(head)).await?;
        let share = match in_time(control.recv()).await? {
            CodeMade::Share(share) => share,
            CodeMade::No => return Err(NotProven::Denied),
            CodeMade::Proof { .. } => {
                return Err(control.judged(Offence::UnexpectedMessage.into()).into());
            }
        };
        let Some(proofs) = begun.finish(share, &binding) else {
            return Err(control.judged(Offence::UnexpectedMessage.into()).into());
        };
        let sent = in_time(control.send(&CodeTyped::Proof(proofs.typed))).await;
        let answer = match sent {
            Ok(()) => in_time(control.recv()).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(CodeMade::Proof { proof, transfer }) if proof == proofs.made => {
                Ok(Proven { transfer, control })
            }
            Ok(CodeMade::Proof { .. } | CodeMade::No) => Err(NotProven::Wrong),
            // Whoever has seen the proof has had a guess, and may break off to be given another:
            // for the person here it is the same as a wrong code.
            Ok(CodeMade::Share(_)) => {
                control.judged(Offence::UnexpectedMessage.into());
                Err(NotProven::Wrong)
            }
            Err(error) => {
                tracing::info!(%error, "who was shown a code has not shown it back");
                Err(NotProven::Wrong)
            }
        }
    }

    pub(super) async fn open_code(&self, head: CodeHead) -> Result<Control, LinkError> {
        let opened = self.quic().open_bi().await;
        let (mut send, recv): (SendStream, _) = opened.map_err(|error| self.reason(&error))?;
        let _ = send.set_priority(CONTROL_PRIORITY);
        let sent = frames::send(&mut send, &Opening::Code(head), self).await;
        let control = Control::new(self.clone(), send, FrameReader::new(recv));
        sent?;
        Ok(control)
    }
}
