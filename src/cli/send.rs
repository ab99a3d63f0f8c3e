//! `send`.

use std::path::{Component, Path, PathBuf};

use peerconnect::config::Setting;
use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, NodeHandle, Reply, Target};
use peerconnect::protocol::message::{SourceFault, TransferId};
use peerconnect::text::Shown;
use peerconnect::transfer::status::TransferSnapshot;

use super::args::SendArgs;
use super::exit::Exit;
use super::face::{Face, Goal, Unanswered};
use super::instance::{Instance, Purpose, reach};
use super::output::{Event, Output};
use super::receive::person;
use super::signals::Signals;
use super::whom::{Chosen, Codes};
use super::{Context, code, quoted, tell_relays, whom};

pub(crate) async fn run(args: SendArgs, context: &mut Context) -> Result<Exit, Fault> {
    let paths = args.paths.iter().map(|path| source(path));
    let paths = paths.collect::<Result<Vec<_>, _>>()?;
    if args.dry_run {
        return dry_run(&paths, context).await;
    }
    let unanswered = unanswered(context);
    let by_code = args.code || (args.to.is_empty() && person(context).is_none());
    let relays = context.use_relays(&args.relays);
    let shown = code::Shown::new(&args.relays, args.qr);
    let Context {
        global,
        paths: folders,
        settings,
        out,
        signals,
    } = context;
    if let Some(limit) = args.limit {
        settings.rate_limit = Some(limit);
    }
    let instance = reach(global, folders, settings, Purpose::Transfer(None)).await?;
    let sent = async {
        tell_relays(&instance, relays).await?;
        let picture = instance.node.overview().borrow().clone();
        // People know who they are; scripts want it first everywhere.
        if out.is_json() {
            out.emit(Event::Hello(&picture.me)).await;
        }
        if let (true, Some(limit)) = (instance.is_shared(), args.limit) {
            let limit = Command::Set(Setting::RateLimit(Some(limit)));
            instance.node.call(limit).await?;
        }
        let to = match by_code {
            true => Chosen::Code,
            false => chosen(args.to, &instance, out, signals).await?,
        };
        let again = again(&to, &args.paths);
        let started = match to {
            Chosen::These(to) => start(&instance.node, to, paths, args.separate).await?,
            Chosen::Code => {
                let node = &instance.node;
                Started::one(code::offer(node, paths, shown, out, signals).await?, false)
            }
        };
        if started.attached {
            out.say("Added to the transfer that is running.");
        }
        let goal = Goal::These(started.transfers);
        let mut face = Face::new(&instance.node, instance.is_shared(), out, signals, goal);
        face.session = started.session;
        face.retry = Some(args.retry);
        face.unanswered = unanswered;
        let exit = face.run().await;
        if exit.may_send_again() {
            let command = match instance.is_shared() {
                true => format!("peerconnect resume {}", started.id.short()),
                false => again,
            };
            let picture = instance.node.overview().borrow().clone();
            let legacy = picture
                .transfer(started.id)
                .is_some_and(TransferSnapshot::is_legacy);
            say_again(&command, legacy, out);
        }
        Ok(exit)
    };
    let result = sent.await;
    instance.close().await;
    result
}

/// A person may wait for an answer as long as it takes, a script does not.
fn unanswered(context: &Context) -> Unanswered {
    match context.global.json.is_none() && person(context).is_some() {
        true => Unanswered::Stay,
        false => Unanswered::Withdraw,
    }
}

/// What has begun.
struct Started {
    /// What steers it.
    id: TransferId,
    /// The session, if there are several receivers.
    session: Option<TransferId>,
    transfers: Vec<TransferId>,
    /// Whether the files went into a transfer that was running.
    attached: bool,
}

impl Started {
    fn one(id: TransferId, attached: bool) -> Self {
        Self {
            id,
            session: None,
            transfers: vec![id],
            attached,
        }
    }
}

/// To whom: those who are named, or whom a person chooses.
async fn chosen(
    named: Vec<String>,
    instance: &Instance,
    out: &mut Output,
    signals: &mut Signals,
) -> Result<Chosen, Fault> {
    if named.is_empty() {
        return whom::choose(instance, Codes::Offered, out, signals).await;
    }
    let mut to = Vec::new();
    for text in named {
        to.extend(whom::named(text, instance, out, signals).await?);
    }
    Ok(Chosen::These(to))
}

async fn start(
    node: &NodeHandle,
    mut to: Vec<Target>,
    paths: Vec<PathBuf>,
    separate: bool,
) -> Result<Started, Fault> {
    let only = match to.len() {
        1 => to.pop(),
        _ => None,
    };
    let command = match only {
        Some(to) => Command::SendFiles {
            to,
            paths,
            separate,
        },
        None => Command::SendToMany { to, paths },
    };
    match node.call(command).await? {
        Reply::Transfer { id, attached } => Ok(Started::one(id, attached)),
        Reply::Session { id, transfers } => Ok(Started {
            id,
            session: Some(id),
            transfers,
            attached: false,
        }),
        other @ (Reply::Done | Reply::Files(_) | Reply::Peer(_)) => Err(unexpected(&other)),
        other @ (Reply::Found(_) | Reply::History(_) | Reply::Checked(_)) => {
            Err(unexpected(&other))
        }
        other @ (Reply::TextSent(_) | Reply::Text(_)) => Err(unexpected(&other)),
        other @ Reply::Agreed { .. } => Err(unexpected(&other)),
    }
}

pub(crate) fn to_whom() -> Fault {
    Fault::Invalid {
        why: "To whom? Add --to with a name (`peerconnect peers` shows who is there), a \
              peerconnect: link or an address"
            .into(),
    }
}

fn say_again(command: &str, legacy: bool, out: &mut Output) {
    let twice = match legacy {
        true => "Old versions do not say what they have: all of it is sent again.",
        false => "What has arrived is not sent twice.",
    };
    out.say(&format!("Send again with: {command}\n  {twice}"));
}

/// The command that sends the same again.
fn again(to: &Chosen, paths: &[PathBuf]) -> String {
    let mut command = String::from("peerconnect send");
    let targets = match to {
        Chosen::These(targets) => targets.as_slice(),
        Chosen::Code => {
            command.push_str(" --code");
            &[]
        }
    };
    for to in targets {
        let to = match to {
            Target::Peer(peer) => peer.to_string(),
            Target::Text(text) => text.clone(),
        };
        command.push_str(" --to ");
        command.push_str(&quoted(&to));
    }
    for path in paths {
        command.push(' ');
        command.push_str(&quoted(&path.to_string_lossy()));
    }
    command
}

/// A reply of the wrong kind: a fault of this program.
pub(crate) fn unexpected(reply: &Reply) -> Fault {
    Fault::Internal {
        what: format!("an unexpected reply: {reply:?}"),
    }
}

/// The absolute path of something to send. It must be there; links are not followed.
pub(crate) fn source(path: &Path) -> Result<PathBuf, Fault> {
    let shown = || path.to_string_lossy().into_owned();
    let fault = |error: &std::io::Error| Fault::Source {
        path: shown(),
        reason: reason(error),
    };
    path.symlink_metadata().map_err(|error| fault(&error))?;
    let absolute = std::path::absolute(path).map_err(|error| fault(&error))?;
    // The receiver needs a name: that of the folder which `.` or `..` stands for.
    let has_name =
        !absolute.components().any(|c| c == Component::ParentDir) && absolute.file_name().is_some();
    match has_name {
        true => Ok(absolute),
        false => std::fs::canonicalize(path).map_err(|error| fault(&error)),
    }
}

fn reason(error: &std::io::Error) -> SourceFault {
    use std::io::ErrorKind;
    let kind = error.kind();
    if matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory) {
        SourceFault::Missing
    } else if kind == ErrorKind::PermissionDenied {
        SourceFault::Unreadable
    } else {
        SourceFault::Io
    }
}

/// Prints size and name of everything that would be sent.
async fn dry_run(paths: &[PathBuf], context: &mut Context) -> Result<Exit, Fault> {
    for path in paths {
        let name = path.file_name().unwrap_or(path.as_os_str());
        let mut open = vec![(path.clone(), PathBuf::from(name))];
        while let Some((path, name)) = open.pop() {
            let shown = name.to_string_lossy().into_owned();
            let fault = |error: std::io::Error| Fault::Source {
                path: shown.clone(),
                reason: reason(&error),
            };
            let metadata = path.symlink_metadata().map_err(fault)?;
            let size = if metadata.is_file() {
                metadata.len()
            } else {
                0
            };
            let mark = if metadata.is_dir() { "/" } else { "" };
            if context.out.is_json() {
                let body = serde_json::json!({ "name": shown, "bytes": size });
                context.out.object("file", body).await;
            } else {
                let line = format!("{size} {}{mark}", Shown(&shown));
                context.out.line(&line).await;
            }
            if metadata.is_dir() {
                let mut inside = Vec::new();
                for entry in std::fs::read_dir(&path).map_err(fault)? {
                    let entry = entry.map_err(fault)?;
                    inside.push((entry.path(), name.join(entry.file_name())));
                }
                // The last one comes out first.
                inside.sort_by(|a, b| b.cmp(a));
                open.extend(inside);
            }
        }
    }
    Ok(Exit::OK)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_always_has_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        let path = source(&inner.join("..")).unwrap();
        assert_eq!(path.file_name().unwrap(), "a");
        let path = source(Path::new(".")).unwrap();
        assert!(path.is_absolute() && path.file_name().is_some());
        let mut slash = inner.clone().into_os_string();
        slash.push("/");
        assert_eq!(source(Path::new(&slash)).unwrap().file_name().unwrap(), "b");
    }

    #[test]
    fn what_is_not_there_is_said_before_anything_is_connected() {
        let fault = source(Path::new("/nonexistent/x")).unwrap_err();
        assert_eq!((fault.slug(), fault.exit_code()), ("source-missing", 11));
    }

    #[cfg(unix)]
    #[test]
    fn a_dangling_link_can_be_sent() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert_eq!(source(&link), Ok(link));
    }
}
