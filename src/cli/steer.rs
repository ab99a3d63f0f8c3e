//! `attach`, `pause`, `resume`, `cancel`, `first`: what changes a transfer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use peerconnect::config::ConflictAnswer;
use peerconnect::fault::Fault;
use peerconnect::node::api::{
    Again, Command, NodeHandle, Overview, Reply, TextCommand, TextSnapshot,
};
use peerconnect::protocol::message::{Scope, TransferId};
use peerconnect::text::count;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::Direction;

use super::Context;
use super::args::Steered;
use super::exit::Exit;
use super::face::{Face, Goal};
use super::instance::{Instance, Purpose, reach, running};
use super::receive::person;
use super::resolve::{self, Whole};
use super::send::{source, unexpected};

pub(crate) async fn attach(
    id: &str,
    paths: &[PathBuf],
    context: &mut Context,
) -> Result<Exit, Fault> {
    let paths = paths
        .iter()
        .map(|path| source(path))
        .collect::<Result<Vec<_>, _>>()?;
    let node = must_run(context).await?;
    let transfer = resolve::whole(&picture(&node), id)?.id();
    let added = count(paths.len() as u64, "item", "items");
    node.call(Command::Attach { transfer, paths }).await?;
    done(context, transfer, &format!("Added {added}.")).await
}

pub(crate) async fn pause(steered: &Steered, context: &mut Context) -> Result<Exit, Fault> {
    let node = must_run(context).await?;
    let picture = picture(&node);
    let whole = resolve::whole(&picture, &steered.id)?;
    for (transfer, scope) in scopes(&node, &picture, whole, steered.file.as_deref()).await? {
        node.call(Command::Pause { transfer, scope }).await?;
    }
    let hint = format!(
        "Paused. Go on with: peerconnect resume {}",
        whole.id().short()
    );
    done(context, whole.id(), &hint).await
}

pub(crate) async fn cancel(steered: &Steered, context: &mut Context) -> Result<Exit, Fault> {
    let local = Purpose::Local;
    let instance = reach(&context.global, &context.paths, &context.settings, local).await?;
    let cancelled = async {
        let node = &instance.node;
        let picture = picture(node);
        if let Some(text) = resolve::open_text(&picture, &steered.id) {
            if steered.file.is_some() {
                let why = format!("{} is a text: it has no files", steered.id);
                return Err(Fault::Invalid { why });
            }
            node.call(Command::Text(TextCommand::Drop(text.id))).await?;
            return Ok((text.id, text_cancelled(text)));
        }
        let whole = resolve::whole(&picture, &steered.id)?;
        for (transfer, scope) in scopes(node, &picture, whole, steered.file.as_deref()).await? {
            node.call(Command::Cancel { transfer, scope }).await?;
        }
        Ok((whole.id(), "Cancelled. Complete files stay."))
    };
    let result: Result<_, Fault> = cancelled.await;
    instance.close().await;
    let (id, text) = result?;
    done(context, id, text).await
}

fn text_cancelled(t: &TextSnapshot) -> &'static str {
    match t.direction {
        Direction::Sending => "The text is taken back.",
        Direction::Receiving => "The text is declined.",
    }
}

pub(crate) async fn first(id: &str, file: &str, context: &mut Context) -> Result<Exit, Fault> {
    let node = must_run(context).await?;
    let picture = picture(&node);
    let whole = resolve::whole(&picture, id)?;
    for transfer in whole.transfers(&picture) {
        // The last one put first is the first: so backwards.
        let files = resolve::files(&node, transfer, file).await?;
        for index in files.into_iter().rev() {
            node.call(Command::First { transfer, index }).await?;
        }
    }
    done(context, whole.id(), "Comes first now.").await
}

pub(crate) async fn answer(
    id: &str,
    answer: ConflictAnswer,
    file: Option<&str>,
    context: &mut Context,
) -> Result<Exit, Fault> {
    let node = must_run(context).await?;
    let picture = picture(&node);
    let t = resolve::transfer(&picture, id)?;
    for (transfer, scope) in scopes(&node, &picture, Whole::One(t), file).await? {
        let command = Command::AnswerConflict {
            transfer,
            scope,
            answer,
        };
        node.call(command).await?;
    }
    done(context, t.id, "Answered.").await
}

pub(crate) async fn resume(
    id: Option<String>,
    file: Option<String>,
    retry: Duration,
    context: &mut Context,
) -> Result<Exit, Fault> {
    let purpose = Purpose::Transfer(None);
    let instance = reach(&context.global, &context.paths, &context.settings, purpose).await?;
    let result = resume_with(&instance, id.as_deref(), file.as_deref(), retry, context).await;
    instance.close().await;
    result
}

async fn resume_with(
    instance: &Instance,
    id: Option<&str>,
    file: Option<&str>,
    retry: Duration,
    context: &mut Context,
) -> Result<Exit, Fault> {
    let node = &instance.node;
    let picture = picture(node);
    let (transfers, orders, session) = match id {
        Some(id) => {
            let whole = resolve::whole(&picture, id)?;
            if whole.is_over() {
                return again(node, whole, file, context).await;
            }
            let session = picture.session(whole.id()).map(|session| session.id);
            let orders = scopes(node, &picture, whole, file).await?;
            (whole.transfers(&picture), orders, session)
        }
        None => {
            let open = picture.transfers.iter().filter(|t| !t.state.is_final());
            let open: Vec<TransferId> = open.map(|t| t.id).collect();
            let orders = open.iter().map(|id| (*id, Scope::Transfer)).collect();
            (open, orders, None)
        }
    };
    if transfers.is_empty() {
        context.out.say("There is nothing to go on with.");
        return Ok(Exit::OK);
    }
    for (transfer, scope) in orders {
        node.call(Command::Resume { transfer, scope }).await?;
    }
    if instance.is_shared() {
        context.out.say("It goes on.");
        return Ok(Exit::OK);
    }
    let goal = Goal::These(transfers);
    let person = person(context);
    let Context { out, signals, .. } = context;
    let mut face = Face::new(node, false, out, signals, goal);
    face.session = session;
    face.retry = Some(retry);
    face.person = person;
    Ok(face.run().await)
}

/// Sends again what is over: what failed, or all if nothing has arrived.
async fn again(
    node: &NodeHandle,
    whole: Whole<'_>,
    file: Option<&str>,
    context: &mut Context,
) -> Result<Exit, Fault> {
    let transfer = whole.id();
    let what = match (whole, file) {
        (Whole::One(t), Some(pattern)) => {
            let files = resolve::files(node, t.id, pattern).await?;
            files.into_iter().map(Again::File).collect()
        }
        (Whole::Many(_), Some(_)) => {
            return Err(Fault::Invalid {
                why: "files are sent again to one receiver: use its id".into(),
            });
        }
        (Whole::One(t), None) if t.state == TransferState::Completed => vec![Again::Failed],
        (Whole::One(_) | Whole::Many(_), None) => vec![Again::All],
    };
    let mut last = transfer;
    for what in what {
        let reply = node.call(Command::SendAgain { transfer, what }).await?;
        let Reply::Transfer { id, .. } = reply else {
            return Err(unexpected(&reply));
        };
        last = id;
    }
    let text = format!("Sending again, as {}.", last.short());
    done(context, last, &text).await
}

/// What a command is about: the whole, or those of the files of each open transfer that fit.
async fn scopes(
    node: &NodeHandle,
    picture: &Overview,
    whole: Whole<'_>,
    file: Option<&str>,
) -> Result<Vec<(TransferId, Scope)>, Fault> {
    let Some(pattern) = file else {
        return Ok(vec![(whole.id(), Scope::Transfer)]);
    };
    let mut scopes = Vec::new();
    for transfer in whole.transfers(picture) {
        let files = resolve::files(node, transfer, pattern).await?;
        scopes.extend(files.into_iter().map(|file| (transfer, Scope::File(file))));
    }
    Ok(scopes)
}

/// The running instance: these commands make no sense without one.
async fn must_run(context: &Context) -> Result<NodeHandle, Fault> {
    running(&context.paths).await?.ok_or(Fault::Invalid {
        why: "Nothing is running. `peerconnect list` shows what can be resumed".into(),
    })
}

fn picture(node: &NodeHandle) -> Arc<Overview> {
    Arc::clone(&node.overview().borrow())
}

async fn done(context: &mut Context, transfer: TransferId, text: &str) -> Result<Exit, Fault> {
    let body = serde_json::json!({ "transfer": transfer.to_string() });
    match context.out.is_json() {
        true => context.out.object("ok", body).await,
        false => context.out.say(text),
    }
    Ok(Exit::OK)
}
