//! `receive` and `daemon`.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use peerconnect::config::ConflictPolicy;
use peerconnect::fault::Fault;
use peerconnect::net::RouterPort;
use peerconnect::node::api::{Command, Overview, ReceiveRule};
use peerconnect::protocol::message::TransferId;
use peerconnect::storage::store::Accept;
use peerconnect::text::count;
use tokio::time::{Instant, timeout};

use super::Context;
use super::args::{JsonStyle, ReceiveArgs, TakeArgs};
use super::code::{redeem, typed};
use super::exit::Exit;
use super::face::{Answers, Face, Goal, nobody_to_ask};
use super::instance::{Instance, Purpose, reach};
use super::output::Event;
use super::question::Questions;
use super::{resolve, tell_relays};

/// How long `receive` goes on for others when it has everything itself.
const PASS_ON_MAX: Duration = Duration::from_secs(60);
/// How long the router may take to open a port before the link is shown without it. By UPnP it
/// takes some questions, the first of them after a quarter of a second.
const ROUTER_MAX: Duration = Duration::from_millis(1000);
/// Where a one-time code may stand, which nobody else can read there.
const CODE_VARIABLE: &str = "PEERCONNECT_CODE";

pub(crate) async fn receive(args: ReceiveArgs, context: &mut Context) -> Result<Exit, Fault> {
    // What a person at a prompt expects of a command: files come to where they are.
    let mut rule = rule(&args.take, Path::new("."), context)?;
    let code = code(&args, context).await?;
    // Whoever has a code wants what it is for, and nothing else.
    rule.accept_all &= code.is_none();
    rule.accept_unencrypted &= code.is_none();
    let relays = context.use_relays(&args.take.relays);
    let purpose = Purpose::Transfer(Some(rule.clone()));
    let instance = reach(&context.global, &context.paths, &context.settings, purpose).await?;
    let told = tell_relays(&instance, relays).await;
    let result = match (told, code) {
        (Ok(()), None) => wait_for_one(&args, rule, &instance, context).await,
        (Ok(()), Some(code)) => take_by_code(code, &args, rule, &instance, context).await,
        (Err(fault), _) => Err(fault),
    };
    instance.close().await;
    result
}

/// The code that was given in one way or another, if any was.
async fn code(args: &ReceiveArgs, context: &mut Context) -> Result<Option<String>, Fault> {
    let set = std::env::var(CODE_VARIABLE).ok();
    let set = set.filter(|code| !code.is_empty() && args.take.from.is_none());
    let words = match (&args.code[..], args.ask_code, set) {
        ([], true, _) => Vec::new(),
        ([], false, Some(set)) => vec![set],
        ([], false, None) => return Ok(None),
        (words, ..) => words.to_vec(),
    };
    typed(&words, &mut context.signals).await.map(Some)
}

async fn take_by_code(
    code: String,
    args: &ReceiveArgs,
    rule: ReceiveRule,
    instance: &Instance,
    context: &mut Context,
) -> Result<Exit, Fault> {
    let picture = instance.node.overview().borrow().clone();
    let Context { out, signals, .. } = context;
    // People wait for nobody but the sender of the code.
    if out.is_json() {
        out.emit(Event::Hello(&picture.me)).await;
    }
    let transfer = redeem(&instance.node, code, rule, args.retry, out, signals).await?;
    let goal = Goal::These(vec![transfer]);
    Ok(attend(goal, None, args, instance, context).await)
}

/// Shows what comes until the goal is reached.
async fn attend(
    goal: Goal,
    answers: Option<Answers>,
    args: &ReceiveArgs,
    instance: &Instance,
    context: &mut Context,
) -> Exit {
    let person = person(context);
    if person.is_none() && !instance.is_shared() {
        warn_about_names(&args.take, context);
    }
    let Context { out, signals, .. } = context;
    let mut face = Face::new(&instance.node, instance.is_shared(), out, signals, goal);
    if let Some(answers) = answers {
        face.answers = answers;
    }
    face.person = person;
    face.retry = Some(args.retry);
    let exit = face.run().await;
    if !instance.is_shared() {
        pass_on(instance, context).await;
    }
    exit
}

async fn wait_for_one(
    args: &ReceiveArgs,
    rule: ReceiveRule,
    instance: &Instance,
    context: &mut Context,
) -> Result<Exit, Fault> {
    let picture = instance.node.overview().borrow().clone();
    let answers = answers(&args.take, &picture, context)?;
    if instance.is_shared() {
        instance.node.call(Command::Expect(rule)).await?;
    }
    hello(instance, context).await;
    let goal = Goal::Next {
        not: seen(&picture, instance.is_shared()),
        until: args.timeout.map(|timeout| Instant::now() + timeout),
        declinable: matches!(answers, Answers::Person | Answers::Peer(_)),
    };
    Ok(attend(goal, Some(answers), args, instance, context).await)
}

/// Others that get the same may still be getting it from here: they need not look for somebody
/// else in the middle of a file.
async fn pass_on(instance: &Instance, context: &mut Context) {
    let mut overview = instance.node.overview();
    let others = overview.borrow().passing_on;
    if others == 0 {
        return;
    }
    let others = count(others.into(), "other device", "other devices");
    context.out.say(&format!(
        "Passing it on to {others}. (Ctrl+C: they get it from somebody else.)"
    ));
    context.out.flush().await;
    tokio::select! {
        _ = overview.wait_for(|picture| picture.passing_on == 0) => {}
        _ = context.signals.next() => {}
        () = tokio::time::sleep(PASS_ON_MAX) => {}
    }
}

pub(crate) async fn daemon(args: TakeArgs, context: &mut Context) -> Result<Exit, Fault> {
    let folder = context.settings.folder.clone();
    let rule = rule(&args, &folder, context)?;
    context.use_relays(&args.relays);
    let purpose = Purpose::Stay(rule);
    let instance = reach(&context.global, &context.paths, &context.settings, purpose).await?;
    let picture = instance.node.overview().borrow().clone();
    if instance.is_shared() {
        return Err(Fault::Invalid {
            why: format!(
                "PeerConnect is running already (process {}). It takes files as its settings say",
                picture.me.pid
            ),
        });
    }
    let answers = match answers(&args, &picture, context) {
        Ok(answers) => answers,
        // Peers can be trusted, and questions answered elsewhere, while it runs.
        Err(Fault::Invalid { .. }) => Answers::Nobody,
        Err(fault) => {
            instance.close().await;
            return Err(fault);
        }
    };
    hello(&instance, context).await;
    let goal = Goal::Stay {
        not: seen(&picture, false),
    };
    let person = person(context);
    if person.is_none() {
        warn_about_names(&args, context);
    }
    let Context { out, signals, .. } = context;
    let mut face = Face::new(&instance.node, false, out, signals, goal);
    face.answers = answers;
    face.person = person;
    let exit = face.run().await;
    instance.close().await;
    Ok(exit)
}

/// Says who and where we are. The router is given a moment first to say where people elsewhere find
/// us: what is said here is passed on to them.
async fn hello(instance: &Instance, context: &mut Context) {
    let mut overview = instance.node.overview();
    let is_known = |picture: &Arc<Overview>| picture.me.router_port != RouterPort::Asking;
    // Whatever else may happen to the node, the face says.
    let _ = timeout(ROUTER_MAX, overview.wait_for(is_known)).await;
    let picture = instance.node.overview().borrow().clone();
    context.out.emit(Event::Hello(&picture.me)).await;
}

fn rule(args: &TakeArgs, default: &Path, context: &Context) -> Result<ReceiveRule, Fault> {
    let folder = args.out.as_deref().unwrap_or(default);
    let folder = absolute(folder).map_err(|error| Fault::CannotWrite {
        path: folder.to_owned(),
        why: error.to_string(),
    })?;
    Ok(ReceiveRule {
        accept_all: args.yes,
        accept_unencrypted: args.accept_unencrypted,
        folder,
        on_conflict: args.on_conflict.unwrap_or(context.settings.on_conflict),
        pass_on: !args.no_pass_on,
    })
}

/// `std::path::absolute` leaves `..` in place, which nobody wants to read in a question.
fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(_) => std::path::absolute(path),
    }
}

/// Who answers the question of an offer. Refused where nobody could.
fn answers(args: &TakeArgs, picture: &Overview, context: &Context) -> Result<Answers, Fault> {
    if let Some(from) = &args.from {
        return resolve::peer_id(picture, from).map(Answers::Peer);
    }
    if args.yes || args.accept_unencrypted {
        return Ok(Answers::Nobody);
    }
    if person(context).is_some() {
        return Ok(Answers::Person);
    }
    let always = |accept| accept == Accept::Always;
    if picture.peers.iter().any(|p| always(p.record.accept)) {
        return Ok(Answers::Nobody);
    }
    Err(nobody_to_ask())
}

/// The person at the terminal, or the program that answers in JSON, if there is one to be asked.
pub(crate) fn person(context: &Context) -> Option<Questions> {
    match context.global.json {
        Some(JsonStyle::Ask) => Some(Questions::in_json()),
        Some(JsonStyle::Lines) => None,
        None => std::io::stdin().is_terminal().then(Questions::in_words),
    }
}

/// Says what becomes of a wish that cannot be granted.
fn warn_about_names(args: &TakeArgs, context: &mut Context) {
    if args.on_conflict == Some(ConflictPolicy::Ask) {
        context.out.say(
            "Nobody can be asked here. Unless somebody opens the window, files whose names are \
             taken get a number.",
        );
    }
}

/// Transfers and texts that have nothing to do with what is waited for: with a node of our own
/// those that ended before; with another's, all.
fn seen(picture: &Overview, shared: bool) -> HashSet<TransferId> {
    let transfers = picture.transfers.iter();
    let transfers = transfers.filter(|t| shared || t.state.is_final());
    let texts = picture.texts.iter().filter(|_| shared);
    transfers.map(|t| t.id).chain(texts.map(|t| t.id)).collect()
}
