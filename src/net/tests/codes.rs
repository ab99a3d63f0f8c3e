//! Two sides that show each other that they know a code, and those who do not know it.

use super::*;
use crate::net::code_link::{NotProven, QuicCode, STEP_DEADLINE};
use crate::net::transfer_link::Control;
use crate::protocol::codes::{ALPN_CODES, CodeHead, CodeMade, CodeTyped, OneTimeCode};
use crate::protocol::pake::{self, Peers, Proof, Proofs, Share, Side};
use crate::protocol::texts::ALPNS;

const TRANSFER: TransferId = TransferId([9; 16]);

fn code(text: &str) -> OneTimeCode {
    text.parse().unwrap()
}

fn right() -> OneTimeCode {
    code("7-river-copper")
}

impl Node {
    /// Somebody has typed a code.
    async fn typed(&mut self) -> QuicCode {
        loop {
            match self.arrival().await {
                Arrival::Code { link, .. } => return link,
                Arrival::Connected(_) | Arrival::Addresses { .. } => {}
                other @ (Arrival::Disconnected(_)
                | Arrival::Transfer { .. }
                | Arrival::Text { .. }
                | Arrival::Pull { .. }) => panic!("{other:?}"),
            }
        }
    }

    /// What becomes of one guess at the code that was made here.
    async fn hears(&mut self) -> Result<bool, LinkError> {
        let us = self.id();
        let link = self.typed().await;
        assert_eq!(link.number(), 7);
        let guess = link.hear(&right(), us).await?;
        if !guess.is_right() {
            guess.deny().await;
            return Ok(false);
        }
        guess.admit(TRANSFER).await.map(|()| true)
    }

    /// Types a code at this node, for the one that is connected.
    async fn types(&self, at: &PeerConnection, text: &str) -> Result<(), NotProven> {
        let proven = at.prove(&code(text), self.id()).await?;
        assert_eq!(proven.transfer(), TRANSFER);
        Ok(proven.ready().await?)
    }
}

/// The sender, the receiver, and the connection at the receiver.
async fn pair() -> (Node, Node, PeerConnection) {
    let (sender, receiver) = (Node::new("sender").await, Node::new("receiver").await);
    let connection = receiver.connect(&sender).await;
    (sender, receiver, connection)
}

#[tokio::test]
async fn two_who_know_the_same_code_show_it_to_each_other() {
    let (mut sender, receiver, at) = pair().await;
    let typed = receiver.types(&at, "7 RIVER copper");
    let (typed, heard) = tokio::join!(typed, sender.hears());
    assert_eq!((typed, heard), (Ok(()), Ok(true)));
    assert!(!at.is_closed());
}

#[tokio::test]
async fn a_wrong_guess_is_seen_and_shown_nothing() {
    let (mut sender, receiver, at) = pair().await;
    for wrong in ["7-river-coral", "7-copper-river", "7-zebra-zero"] {
        let (typed, heard) = tokio::join!(receiver.types(&at, wrong), sender.hears());
        assert_eq!(
            (typed, heard),
            (Err(NotProven::Wrong), Ok(false)),
            "{wrong}"
        );
    }
    // Where there is no such number, that is said, and nothing was shown.
    let none = async { sender.typed().await.deny().await };
    let (typed, ()) = tokio::join!(receiver.types(&at, "8-river-copper"), none);
    assert_eq!(typed, Err(NotProven::Denied));
    assert!(!at.is_closed());
}

/// What somebody has come to who guesses `text` himself, as the one who has typed it.
fn guessed(text: &str, peers: Peers) -> (CodeHead, impl FnOnce(Share) -> Proofs) {
    let (begun, share) = pake::begin(Side::Typed, &code(text), peers);
    let head = CodeHead { number: 7, share };
    (head, move |theirs| begun.finish(theirs, &[0; 32]).unwrap())
}

#[tokio::test]
async fn who_passes_everything_on_with_a_key_of_his_own_shows_nothing_to_either() {
    let mut sender = Node::new("sender").await;
    let (mut middle, receiver) = (Node::new("middle").await, Node::new("receiver").await);
    // A relay has led the receiver to the one in the middle.
    let at_receiver = receiver.connect(&middle).await;
    let at_middle = middle.connect(&sender).await;
    let between = async {
        let mut near = middle.typed().await;
        let mut far = at_middle.open_code(near.head).await.unwrap();
        let share: CodeMade = far.recv().await.unwrap();
        near.control.send(&share).await.unwrap();
        let proof: CodeTyped = near.control.recv().await.unwrap();
        far.send(&proof).await.unwrap();
        let answer: CodeMade = far.recv().await.unwrap();
        near.control.send(&answer).await.unwrap();
        near.control.close(Code::Done).await;
        answer
    };
    let typed = receiver.types(&at_receiver, "7-river-copper");
    let (typed, heard, answer) = tokio::join!(typed, sender.hears(), between);
    // Both used the right code, and it is used up.
    assert_eq!((heard, answer), (Ok(false), CodeMade::No));
    assert_eq!(typed, Err(NotProven::Wrong));
}

/// Takes a code at a node that does not know it: its own proof, and that of the other side.
async fn pretend(impostor: &mut Node, receiver: PeerId) -> (Control, Proof, Proof) {
    let made = impostor.id();
    let link = impostor.typed().await;
    let peers = Peers {
        made,
        typed: receiver,
    };
    let (begun, share) = pake::begin(Side::Made, &code("7-river-coral"), peers);
    let proofs = begun.finish(link.head.share, &[0; 32]).unwrap();
    let mut control = link.control;
    control.send(&CodeMade::Share(share)).await.unwrap();
    match control.recv().await.unwrap() {
        CodeTyped::Proof(theirs) => (control, proofs.made, theirs),
        CodeTyped::Ready => panic!("it is not the turn of that"),
    }
}

#[tokio::test]
async fn a_sender_who_does_not_know_the_code_is_not_believed() {
    let (mut impostor, receiver, at) = pair().await;
    for echo in [false, true] {
        let pretends = async {
            let (mut control, own, theirs) = pretend(&mut impostor, receiver.id()).await;
            let proof = if echo { theirs } else { own };
            let transfer = TRANSFER;
            let said = CodeMade::Proof { proof, transfer };
            control.send(&said).await.unwrap();
            control.close(Code::Done).await;
        };
        let (typed, ()) = tokio::join!(receiver.types(&at, "7-river-copper"), pretends);
        assert_eq!(typed, Err(NotProven::Wrong), "{echo}");
    }
}

#[tokio::test]
async fn whoever_breaks_off_when_he_has_seen_the_proof_gets_no_second_one() {
    let (mut impostor, receiver, at) = pair().await;
    for says_nonsense in [false, true] {
        let pretends = async {
            let (mut control, _, _) = pretend(&mut impostor, receiver.id()).await;
            if says_nonsense {
                let share = CodeMade::Share(Share([7; 32]));
                control.send(&share).await.unwrap();
            }
            control.close(Code::Done).await;
        };
        let (typed, ()) = tokio::join!(receiver.types(&at, "7-river-copper"), pretends);
        assert_eq!(typed, Err(NotProven::Wrong), "{says_nonsense}");
    }
}

#[tokio::test]
async fn what_was_said_once_is_worth_nothing_again() {
    let (mut sender, receiver, at) = pair().await;
    let peers = Peers {
        made: sender.id(),
        typed: receiver.id(),
    };
    // The same half again, and the proof that belonged to it.
    let (head, finish) = guessed("7-river-coral", peers);
    let mut finish = Some(finish);
    let mut proof = None;
    for _ in 0..2 {
        let tries = async {
            let mut control = at.open_code(head).await.unwrap();
            let CodeMade::Share(share) = control.recv().await.unwrap() else {
                panic!("it has the number");
            };
            let said = *proof.get_or_insert_with(|| finish.take().unwrap()(share).typed);
            control.send(&CodeTyped::Proof(said)).await.unwrap();
            control.recv::<CodeMade>().await.unwrap()
        };
        let (answer, heard) = tokio::join!(tries, sender.hears());
        assert_eq!((answer, heard), (CodeMade::No, Ok(false)));
    }
}

#[tokio::test]
async fn messages_out_of_turn_end_the_connection() {
    let (mut sender, receiver, at) = pair().await;
    let peers = Peers {
        made: sender.id(),
        typed: receiver.id(),
    };
    let (head, _) = guessed("7-river-copper", peers);
    let tries = async {
        let mut control = at.open_code(head).await.unwrap();
        control.send(&CodeTyped::Ready).await.unwrap();
        at.closed().await
    };
    let (closed, heard) = tokio::join!(tries, sender.hears());
    assert_eq!(closed, LinkError::Closed(Code::Offence));
    let offence = LinkError::Offence(Offence::UnexpectedMessage);
    assert_eq!(heard, Err(offence));
}

#[tokio::test]
async fn a_half_that_is_none_is_an_offence() {
    let (mut sender, receiver, at) = pair().await;
    // No point of the curve has this.
    let bad = (0..=255).map(|n| Share([n; 32])).find(|share| {
        let peers = Peers {
            made: sender.id(),
            typed: receiver.id(),
        };
        let (begun, _) = pake::begin(Side::Made, &right(), peers);
        begun.finish(*share, &[0; 32]).is_none()
    });
    let head = CodeHead {
        number: 7,
        share: bad.unwrap(),
    };
    let tries = async {
        let _control = at.open_code(head).await.unwrap();
        at.closed().await
    };
    let (closed, heard) = tokio::join!(tries, sender.hears());
    assert_eq!(closed, LinkError::Closed(Code::Offence));
    assert!(matches!(heard, Err(LinkError::Offence(_))), "{heard:?}");
}

#[tokio::test]
async fn who_falls_silent_is_given_up() {
    let (mut sender, receiver, at) = pair().await;
    let peers = Peers {
        made: sender.id(),
        typed: receiver.id(),
    };
    let (head, _) = guessed("7-river-copper", peers);
    let _control = at.open_code(head).await.unwrap();
    let heard = tokio::time::timeout(STEP_DEADLINE * 4, sender.hears()).await;
    assert!(matches!(heard, Ok(Err(LinkError::Lost(_)))), "{heard:?}");
}

#[tokio::test]
async fn a_program_that_knows_no_codes_is_not_asked() {
    let (sender, receiver) = (Node::new("sender").await, Node::new("receiver").await);
    let endpoint = raw_endpoint();
    let identity = Identity::generate().unwrap();
    let known = ALPNS.iter().position(|alpn| *alpn == ALPN_CODES).unwrap();
    let tls = identity.client_config_for(Some(sender.id()), &ALPNS[known + 1..]);
    let tls = tls.unwrap();
    let config = quinn::ClientConfig::new(tls.crypto);
    let connecting = endpoint.connect_with(config, sender.addr(), &tls.server_name);
    let quic = connecting.unwrap().await.unwrap();
    let old = PeerConnection::new(quic, true, None);
    let typed = receiver.types(&old, "7-river-copper").await;
    assert_eq!(typed, Err(NotProven::Unknown));
}
