//! `send --text`.

use std::io::{IsTerminal, Read};
use std::sync::Arc;

use peerconnect::fault::Fault;
use peerconnect::node::api::{
    Command, NodeHandle, Overview, Reply, Target, TextCommand, TextState,
};
use peerconnect::protocol::link_uri::RelayHint;
use peerconnect::protocol::texts::{NoText, TEXT_LEN_MAX, TextId, length_of};

use super::exit::Exit;
use super::face::combined;
use super::instance::{Purpose, reach};
use super::output::{Event, Output};
use super::send::{to_whom, unexpected};
use super::signals::Signals;
use super::whom::{Chosen, Codes};
use super::{Context, tell_relays, whom};

/// What stands for standard input.
const STDIN: &str = "-";

pub(crate) async fn run(
    text: String,
    to: Vec<String>,
    relays: Vec<RelayHint>,
    context: &mut Context,
) -> Result<Exit, Fault> {
    let reads = text == STDIN;
    let person = !reads && !context.out.is_json() && std::io::stdin().is_terminal();
    if to.is_empty() && !person {
        return Err(to_whom());
    }
    let text = match reads {
        false => text,
        true => tokio::select! {
            text = from_stdin() => text?,
            signal = context.signals.next() => return Ok(signal.exit()),
        },
    };
    length_of(&text).map_err(not_sendable)?;
    let Context {
        global,
        paths,
        settings,
        out,
        signals,
    } = context;
    let instance = reach(global, paths, settings, Purpose::Transfer(None)).await?;
    let sent = async {
        tell_relays(&instance, relays).await?;
        if out.is_json() {
            let picture = instance.node.overview().borrow().clone();
            out.emit(Event::Hello(&picture.me)).await;
        }
        let mut targets = Vec::new();
        for to in to {
            targets.extend(whom::named(to, &instance, out, signals).await?);
        }
        if targets.is_empty() {
            targets = match whom::choose(&instance, Codes::Never, out, signals).await? {
                Chosen::These(chosen) => chosen,
                Chosen::Code => return Err(to_whom()),
            };
        }
        send(targets, &text, &instance.node, out, signals).await
    };
    let result = sent.await;
    instance.close().await;
    result
}

/// Sends the text to everybody at once: each answers in his own time.
async fn send(
    targets: Vec<Target>,
    text: &str,
    node: &NodeHandle,
    out: &mut Output,
    signals: &mut Signals,
) -> Result<Exit, Fault> {
    let alone = targets.len() == 1;
    let mut sent = Sent::default();
    for to in targets {
        match begin(to, text.to_owned(), node).await {
            Ok(id) => sent.open.push(Open {
                id,
                told: None,
                over: false,
            }),
            Err(fault) if alone => return Err(fault),
            Err(fault) => sent.failed(&fault, out).await,
        }
    }
    let stopped = tokio::select! {
        followed = sent.follow(node, out) => return followed.map(|()| combined(&sent.exits)),
        signal = signals.next() => signal.exit(),
    };
    for text in sent.open.iter().filter(|text| !text.over) {
        // Taken back, also where the node goes on without us.
        let _ = node.call(Command::Text(TextCommand::Drop(text.id))).await;
    }
    Ok(stopped)
}

async fn begin(to: Target, text: String, node: &NodeHandle) -> Result<TextId, Fault> {
    let command = Command::Text(TextCommand::Send { to, text });
    match node.call(command).await? {
        Reply::TextSent(id) => Ok(id),
        other @ (Reply::Done
        | Reply::Transfer { .. }
        | Reply::Session { .. }
        | Reply::Files(_)
        | Reply::Peer(_)
        | Reply::Found(_)
        | Reply::History(_)
        | Reply::Checked(_)
        | Reply::Agreed { .. }
        | Reply::Text(_)) => Err(unexpected(&other)),
    }
}

/// One text on its way to each of several people.
#[derive(Debug, Default)]
struct Sent {
    /// What is not over.
    open: Vec<Open>,
    /// How the others ended.
    exits: Vec<Exit>,
}

#[derive(Debug)]
struct Open {
    id: TextId,
    /// The state that was told last.
    told: Option<TextState>,
    over: bool,
}

impl Sent {
    /// Tells what becomes of the texts until all are over. If it is dropped, what is not over is
    /// still in `open`.
    async fn follow(&mut self, node: &NodeHandle, out: &mut Output) -> Result<(), Fault> {
        let mut overview = node.overview();
        loop {
            let picture = Arc::clone(&overview.borrow_and_update());
            for at in 0..self.open.len() {
                self.tell(at, &picture, out).await;
            }
            self.open.retain(|text| !text.over);
            out.flush().await;
            if self.open.is_empty() {
                return Ok(());
            }
            let ended = |_| Fault::Internal {
                what: "the node has ended".into(),
            };
            overview.changed().await.map_err(ended)?;
        }
    }

    /// Tells what is new of a text.
    async fn tell(&mut self, at: usize, picture: &Overview, out: &mut Output) {
        let Some(text) = self.open.get_mut(at) else {
            return;
        };
        let Some(t) = picture.text(text.id) else {
            if text.told.is_some() {
                // Somebody has taken it out of the overview, at another face.
                text.over = true;
                self.failed(&Fault::Cancelled, out).await;
            }
            return;
        };
        if t.state.is_final() {
            text.over = true;
            let exit = t.fault.as_ref().map_or(Exit::OK, Exit::of);
            self.exits.push(exit);
            if let Some(fault) = &t.fault {
                out.emit(Event::Error(None, None, fault)).await;
            }
            out.emit(Event::TextSummary(t, exit)).await;
        } else if text.told.replace(t.state) != Some(t.state) {
            out.emit(Event::TextState(t)).await;
        }
    }

    async fn failed(&mut self, fault: &Fault, out: &mut Output) {
        out.emit(Event::Error(None, None, fault)).await;
        self.exits.push(Exit::of(fault));
    }
}

fn not_sendable(no: NoText) -> Fault {
    Fault::Invalid {
        why: no.to_string(),
    }
}

/// All of standard input, if that is a text that can be sent; without the last end of line, which
/// is there only because programs end their output with one.
async fn from_stdin() -> Result<String, Fault> {
    let read = tokio::task::spawn_blocking(|| read_text(std::io::stdin().lock()));
    read.await.unwrap_or_else(|error| {
        Err(Fault::Internal {
            what: error.to_string(),
        })
    })
}

fn read_text(from: impl Read) -> Result<String, Fault> {
    // One more than allowed, and the end of line.
    let most = TEXT_LEN_MAX as u64 + 3;
    let mut bytes = Vec::new();
    let read = from.take(most).read_to_end(&mut bytes);
    read.map_err(|error| Fault::Invalid {
        why: format!("standard input cannot be read: {error}"),
    })?;
    if bytes.len() as u64 == most {
        return Err(Fault::Invalid {
            why: format!(
                "standard input is longer than a text may be: at most {TEXT_LEN_MAX} bytes; send \
                 it as a file"
            ),
        });
    }
    let end = [&b"\r\n"[..], b"\n"];
    let end = end.into_iter().find(|end| bytes.ends_with(end));
    bytes.truncate(bytes.len() - end.map_or(0, <[u8]>::len));
    String::from_utf8(bytes).map_err(|_| Fault::Invalid {
        why: "standard input is not UTF-8 text; send it as a file".into(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_is_read_as_far_as_a_text_may_be_long() {
        for (bytes, text) in [
            (&b"hi\n"[..], "hi"),
            (b"hi\r\n", "hi"),
            (b"a\n\n", "a\n"),
            (b"no end", "no end"),
            (b"\n", ""),
        ] {
            assert_eq!(read_text(bytes).as_deref(), Ok(text));
        }
        let most = "x".repeat(TEXT_LEN_MAX);
        assert_eq!(read_text(format!("{most}\r\n").as_bytes()), Ok(most));
        // Endless input ends here, too.
        for bad in [
            &mut std::io::repeat(b'x') as &mut dyn Read,
            &mut &b"\xff"[..],
        ] {
            let fault = read_text(bad).unwrap_err();
            assert_eq!((fault.slug(), fault.exit_code()), ("invalid", 2));
        }
    }
}
