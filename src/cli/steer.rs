//! `attach`, `pause`, `resume`, `cancel`, `first`: what changes a transfer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use peerconnect::config::ConflictAnswer;
use peerconnect::fault::Fault;
use peerconnect::node::api::{Again, Command, NodeHandle, Overview, Reply};
use peerconnect::protocol::message::{Scope, TransferId};
use peerconnect::text::count;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::TransferSnapshot;

use super::Context;
use super::args::Steered;
use super::exit::Exit;
use super::face::{Face, Goal};
use super::instance::{Instance, Purpose, reach, running};
use super::receive::person;
use super::resolve;
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
    let transfer = resolve::transfer(&picture(&node), id)?.id;
    let added = count(paths.len() as u64, "item", "items");
    node.call(Command::Attach { transfer, paths }).await?;
    done(context, transfer, &format!("Added {added}.")).await
}

pub(crate) async fn pause(steered: &Steered, context: &mut Context) -> Result<Exit, Fault> {
    let node = must_run(context).await?;
    let transfer = resolve::transfer(&picture(&node), &steered.id)?.id;
    for scope in scopes(&node, transfer, steered.file.as_deref()).await? {
        node.call(Command::Pause { transfer, scope }).await?;
    }
    let hint = format!(
        "Paused. Go on with: peerconnect resume {}",
        transfer.short()
    );
    done(context, transfer, &hint).await
}

pub(crate) async fn cancel(steered: &Steered, context: &mut Context) -> Result<Exit, Fault> {
    let local = Purpose::Local;
    let instance = reach(&context.global, &context.paths, &context.settings, local).await?;
    let cancelled = async {
        let node = &instance.node;
        let transfer = resolve::transfer(&picture(node), &steered.id)?.id;
        for scope in scopes(node, transfer, steered.file.as_deref()).await? {
            node.call(Command::Cancel { transfer, scope }).await?;
        }
        Ok(transfer)
    };
    let result: Result<TransferId, Fault> = cancelled.await;
    instance.close().await;
    done(context, result?, "Cancelled. Complete files stay.").await
}

pub(crate) async fn first(id: &str, file: &str, context: &mut Context) -> Result<Exit, Fault> {
    let node = must_run(context).await?;
    let transfer = resolve::transfer(&picture(&node), id)?.id;
    // The last one put first is the first: so backwards.
    for index in resolve::files(&node, transfer, file)
        .await?
        .into_iter()
        .rev()
    {
        node.call(Command::First { transfer, index }).await?;
    }
    done(context, transfer, "Comes first now.").await
}

pub(crate) async fn answer(
    id: &str,
    answer: ConflictAnswer,
    file: Option<&str>,
    context: &mut Context,
) -> Result<Exit, Fault> {
    let node = must_run(context).await?;
    let transfer = resolve::transfer(&picture(&node), id)?.id;
    for scope in scopes(&node, transfer, file).await? {
        let command = Command::AnswerConflict {
            transfer,
            scope,
            answer,
        };
        node.call(command).await?;
    }
    done(context, transfer, "Answered.").await
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
    let transfers: Vec<TransferId> = match id {
        Some(id) => {
            let t = resolve::transfer(&picture, id)?;
            if t.state.is_final() {
                return again(node, t, file, context).await;
            }
            vec![t.id]
        }
        None => {
            let open = picture.transfers.iter().filter(|t| !t.state.is_final());
            open.map(|t| t.id).collect()
        }
    };
    if transfers.is_empty() {
        context.out.say("There is nothing to go on with.");
        return Ok(Exit::OK);
    }
    for transfer in &transfers {
        let transfer = *transfer;
        for scope in scopes(node, transfer, file).await? {
            node.call(Command::Resume { transfer, scope }).await?;
        }
    }
    if instance.is_shared() {
        context.out.say("It goes on.");
        return Ok(Exit::OK);
    }
    let goal = Goal::These(transfers);
    let person = person(context);
    let Context { out, signals, .. } = context;
    let mut face = Face::new(node, false, out, signals, goal);
    face.retry = Some(retry);
    face.person = person;
    Ok(face.run().await)
}

/// Sends again what is over: what failed, or all if nothing has arrived.
async fn again(
    node: &NodeHandle,
    t: &TransferSnapshot,
    file: Option<&str>,
    context: &mut Context,
) -> Result<Exit, Fault> {
    let whole = match t.state == TransferState::Completed {
        true => Again::Failed,
        false => Again::All,
    };
    let what: Vec<Again> = match file {
        None => vec![whole],
        Some(pattern) => {
            let files = resolve::files(node, t.id, pattern).await?;
            files.into_iter().map(Again::File).collect()
        }
    };
    let mut last = t.id;
    for what in what {
        let command = Command::SendAgain {
            transfer: t.id,
            what,
        };
        let reply = node.call(command).await?;
        let Reply::Transfer { id, .. } = reply else {
            return Err(unexpected(&reply));
        };
        last = id;
    }
    let text = format!("Sending again, as {}.", last.short());
    done(context, last, &text).await
}

/// What a command is about: the whole transfer, or those of its files that fit.
async fn scopes(
    node: &NodeHandle,
    transfer: TransferId,
    file: Option<&str>,
) -> Result<Vec<Scope>, Fault> {
    match file {
        None => Ok(vec![Scope::Transfer]),
        Some(pattern) => {
            let files = resolve::files(node, transfer, pattern).await?;
            Ok(files.into_iter().map(Scope::File).collect())
        }
    }
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
