//! The command line: another face of the node. Results go to stdout, talk to stderr.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use peerconnect::config::{LegacyMode, Paths, Settings};
use peerconnect::fault::Fault;
use peerconnect::node::api::Command;
use peerconnect::protocol::link_uri::RelayHint;

mod args;
mod code;
mod config;
mod doctor;
mod exit;
mod face;
mod human;
mod instance;
mod json;
mod json_ask;
mod lines;
mod many;
mod output;
mod peers;
mod progress;
mod question;
mod receive;
mod relay;
mod resolve;
mod send;
mod send_text;
mod show;
mod signals;
mod steer;
#[cfg(test)]
mod testing;
mod tracker;
mod whom;

use args::{Cli, Global, Verb};
use exit::Exit;
use instance::Instance;
use output::{Event, Output};
use signals::Signals;

/// What every command has.
struct Context {
    global: Global,
    paths: Paths,
    settings: Settings,
    out: Output,
    signals: Signals,
}

impl Context {
    /// Relays that are named on the command line are used instead of those of the settings.
    fn use_relays(&mut self, args: &args::RelayArgs) -> Vec<RelayHint> {
        let relays: Vec<RelayHint> = args.links.iter().cloned().map(Into::into).collect();
        if !relays.is_empty() {
            self.settings.relays.clone_from(&relays);
        }
        relays
    }
}

/// Has a node that runs already use relays that are named on the command line.
async fn tell_relays(instance: &Instance, relays: Vec<RelayHint>) -> Result<(), Fault> {
    if instance.is_shared() && !relays.is_empty() {
        instance.node.call(Command::UseRelays(relays)).await?;
    }
    Ok(())
}

/// Runs the command that was typed.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    start_log(cli.global.verbose);
    if let Verb::Completions { shell } = &cli.command {
        return completions(*shell).into();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail_early(&cli.global, &internal(&error)),
    };
    let exit = runtime.block_on(run_command(cli));
    // Threads that wait for the terminal do not hold up the end.
    runtime.shutdown_background();
    exit
}

async fn run_command(cli: Cli) -> ExitCode {
    let Cli { command, global } = cli;
    let paths = Paths::find(global.config_dir.as_deref());
    let mut settings = match Settings::load(&paths) {
        Ok(settings) => settings,
        Err(error) => return fail_early(&global, &error.into()),
    };
    if let Some(name) = &global.name {
        settings.name.clone_from(name);
    }
    if let Some(port) = global.port {
        settings.port = port;
    }
    if global.no_legacy {
        settings.legacy = LegacyMode::Off;
    }
    let signals = match Signals::watch(matches!(command, Verb::Daemon(_))) {
        Ok(signals) => signals,
        Err(error) => return fail_early(&global, &internal(&error)),
    };
    let mut context = Context {
        out: Output::new(&global),
        global,
        paths,
        settings,
        signals,
    };
    let exit = match dispatch(command, &mut context).await {
        Ok(exit) => exit,
        Err(fault) => {
            context.out.emit(Event::Error(None, None, &fault)).await;
            Exit::of(&fault)
        }
    };
    let closed = context.out.is_closed();
    context.out.finish().await;
    match closed {
        true => Exit::PIPE_CLOSED.into(),
        false => exit.into(),
    }
}

async fn dispatch(command: Verb, context: &mut Context) -> Result<Exit, Fault> {
    match command {
        Verb::Send(mut args) => match args.text.take() {
            Some(text) => {
                let relays = context.use_relays(&args.relays);
                send_text::run(text, args.to, relays, context).await
            }
            None => send::run(args, context).await,
        },
        Verb::Receive(args) => receive::receive(args, context).await,
        Verb::Daemon(args) => receive::daemon(args, context).await,
        Verb::List { watch } => show::list(watch, context).await,
        Verb::Attach { id, paths } => steer::attach(&id, &paths, context).await,
        Verb::Pause(steered) => steer::pause(&steered, context).await,
        Verb::Resume { id, file, retry } => steer::resume(id, file, retry, context).await,
        Verb::Cancel(steered) => steer::cancel(&steered, context).await,
        Verb::Answer { id, answer, file } => {
            steer::answer(&id, answer, file.as_deref(), context).await
        }
        Verb::First { id, file } => steer::first(&id, &file, context).await,
        Verb::History { count, clear } => show::history(count, clear, context).await,
        Verb::Id { qr } => show::id(qr, context).await,
        Verb::Peers { action, watch } => peers::run(action, watch, context).await,
        Verb::Relay(args) => relay::run(args, context).await,
        Verb::Doctor { peer, relays } => doctor::run(peer, &relays, context).await,
        Verb::Config { paths: true, .. } => config::show_paths(context).await,
        Verb::Config { key, value, .. } => match (key, value) {
            (Some(key), Some(value)) => config::set(&key, &value, context).await,
            (key, _) => config::show_settings(key.as_deref(), context).await,
        },
        Verb::Completions { shell } => Ok(completions(shell)),
    }
}

/// Says why a command line cannot be understood.
fn refused(error: &clap::Error) -> ExitCode {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
        && looks_like_path(word)
    {
        let words: Vec<String> = std::env::args_os()
            .skip(1)
            .map(|word| quoted(&word.to_string_lossy()))
            .collect();
        let line = words.join(" ");
        let symbols = progress::Symbols::of_locale(|key| std::env::var(key).ok());
        let mark = symbols.error;
        write_stderr(&format!("{mark} Did you mean `peerconnect send {line}`?\n"));
        return Exit::USAGE.into();
    }
    // Help and version go to stdout with 0, mistakes to stderr with 2. A closed pipe is no news.
    let _ = error.print();
    match error.exit_code() {
        0 => Exit::OK.into(),
        _ => Exit::USAGE.into(),
    }
}

fn looks_like_path(word: &str) -> bool {
    word.contains(['.', '/']) || std::path::Path::new(word).exists()
}

/// A word as it can be typed into a shell again.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,~".contains(c);
    let shown = peerconnect::text::Shown(word).to_string();
    match !shown.is_empty() && shown.chars().all(plain) {
        true => shown,
        false => format!("'{}'", shown.replace('\'', r"'\''")),
    }
}

fn completions(shell: clap_complete::Shell) -> Exit {
    use std::io::Write;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "peerconnect", &mut script);
    match std::io::stdout().write_all(&script) {
        Ok(()) => Exit::OK,
        Err(_) => Exit::PIPE_CLOSED,
    }
}

fn internal(error: &std::io::Error) -> Fault {
    Fault::Internal {
        what: error.to_string(),
    }
}

/// Reports a fault before there is anything to report it with.
fn fail_early(global: &Global, fault: &Fault) -> ExitCode {
    use std::io::Write;
    if global.json.is_some() {
        let mut line = Vec::new();
        json::write(&Event::Error(None, None, fault), &mut line);
        // Whoever closed stdout has the exit code.
        let _ = std::io::stdout().write_all(&line);
    } else {
        let symbols = progress::Symbols::of_locale(|key| std::env::var(key).ok());
        write_stderr(&human::error_text(fault, symbols));
    }
    Exit::of(fault).into()
}

fn write_stderr(text: &str) {
    use std::io::Write;
    // Without a stderr there is nobody to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The log goes to stderr: as `PEERCONNECT_LOG` or `RUST_LOG` says, otherwise by `-v`.
fn start_log(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let set = ["PEERCONNECT_LOG", "RUST_LOG"]
        .into_iter()
        .find_map(|key| std::env::var(key).ok().filter(|value| !value.is_empty()));
    let filter = match (set, verbose) {
        (Some(set), _) => set,
        (None, 0) => "off".into(),
        // It takes it for an error that there is no network.
        (None, 1) => "warn,peerconnect=info,mainline=off".into(),
        (None, 2) => "info,peerconnect=debug".into(),
        (None, _) => "debug,peerconnect=trace".into(),
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn words_are_quoted_for_the_shell_where_they_must_be() {
        assert_eq!(quoted("a.pdf"), "a.pdf");
        assert_eq!(quoted("my file"), "'my file'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
