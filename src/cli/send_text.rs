//! `send --text`.

use std::io::{IsTerminal, Read};
use std::sync::Arc;

use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, NodeHandle, Reply, Target, TextCommand};
use peerconnect::protocol::texts::{NoText, TEXT_LEN_MAX, TextId, length_of};

use super::exit::Exit;
use super::instance::{Purpose, reach};
use super::output::{Event, Output};
use super::send::{to_whom, unexpected};
use super::signals::Signals;
use super::{Context, whom};

/// What stands for standard input.
const STDIN: &str = "-";

pub(crate) async fn run(
    text: String,
    to: Vec<String>,
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
        if out.is_json() {
            let picture = instance.node.overview().borrow().clone();
            out.emit(Event::Hello(&picture.me)).await;
        }
        let mut targets = Vec::new();
        for to in to {
            targets.extend(whom::named(to, &instance, out, signals).await?);
        }
        if targets.is_empty() {
            targets = whom::choose(&instance, out, signals).await?;
        }
        let mut exit = Exit::OK;
        for to in targets {
            let one = send(to, text.clone(), &instance.node, out, signals).await?;
            if exit == Exit::OK {
                exit = one;
            }
        }
        Ok(exit)
    };
    let result = sent.await;
    instance.close().await;
    result
}

async fn send(
    to: Target,
    text: String,
    node: &NodeHandle,
    out: &mut Output,
    signals: &mut Signals,
) -> Result<Exit, Fault> {
    let command = Command::Text(TextCommand::Send { to, text });
    let id = match node.call(command).await? {
        Reply::TextSent(id) => id,
        other @ (Reply::Done
        | Reply::Transfer { .. }
        | Reply::Session { .. }
        | Reply::Files(_)
        | Reply::Peer(_)
        | Reply::Found(_)
        | Reply::History(_)
        | Reply::Text(_)) => return Err(unexpected(&other)),
    };
    tokio::select! {
        exit = follow(id, node, out) => exit,
        signal = signals.next() => {
            // Taken back, also where the node goes on without us.
            let _ = node.call(Command::Text(TextCommand::Drop(id))).await;
            Ok(signal.exit())
        }
    }
}

/// Tells what becomes of the text until it is over.
async fn follow(id: TextId, node: &NodeHandle, out: &mut Output) -> Result<Exit, Fault> {
    let ended = || Fault::Internal {
        what: "the node has ended".into(),
    };
    let mut overview = node.overview();
    let mut told = None;
    loop {
        let picture = Arc::clone(&overview.borrow_and_update());
        if let Some(t) = picture.text(id) {
            if told.replace(t.state) != Some(t.state) && !t.state.is_final() {
                out.emit(Event::TextState(t)).await;
                out.flush().await;
            }
            if t.state.is_final() {
                let exit = t.fault.as_ref().map_or(Exit::OK, Exit::of);
                if let Some(fault) = &t.fault {
                    out.emit(Event::Error(None, None, fault)).await;
                }
                out.emit(Event::TextSummary(t, exit)).await;
                return Ok(exit);
            }
        } else if told.is_some() {
            // Somebody has taken it out of the overview, at another face.
            return Err(Fault::Cancelled);
        }
        overview.changed().await.map_err(|_| ended())?;
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
