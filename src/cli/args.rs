//! What can be typed. The documentation of each argument is its help text.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use peerconnect::config::{self, ConflictAnswer, ConflictPolicy};
use peerconnect::protocol::link_uri::{Link, LinkUriError};
use peerconnect::storage::store::Accept;

const EVERYWHERE: &str = "Everywhere";

const EXIT_CODES: &str = "\
Exit codes:
    0  all arrived and was verified, or was there already
    1  something unexpected (a fault of the program)
    2  the command makes no sense
    3  the peer is not reachable
    4  no way to the peer, a firewall, or a port that is taken
    5  another identity than the one known, not let in, or a wrong code
    6  declined or cancelled by the peer
    7  no answer in time
    8  connection lost; can be resumed
    9  disk full
   10  cannot write there
   11  a file to send is missing, unreadable or changing
   12  a file did not arrive intact
   13  a name is taken (--on-conflict fail)
   14  some files failed; with several receivers: some got everything and some did not
   15  the two programs are too different
  130  ended by Ctrl-C (143 by SIGTERM); what has arrived is kept";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Sends files between people's computers: directly, encrypted, verified.
#[derive(Debug, Parser)]
#[command(
    name = "peerconnect",
    version,
    styles = STYLES,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true,
    after_help = EXIT_CODES
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Verb,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Write one JSON object per line to stdout, and nothing else
    ///
    /// With `ask`, questions are lines too, `{"t":"ask","ask":1,"answers":[...],...}`, and are
    /// answered by lines on stdin: `{"ask":1,"answer":"yes"}`.
    #[arg(long, global = true, value_name = "HOW", num_args = 0..=1, require_equals = true,
          default_missing_value = "lines", hide_possible_values = true,
          help_heading = EVERYWHERE, display_order = 900)]
    pub(crate) json: Option<JsonStyle>,
    /// Only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose",
          help_heading = EVERYWHERE, display_order = 901)]
    pub(crate) quiet: bool,
    /// Say more; twice: still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count,
          help_heading = EVERYWHERE, display_order = 902)]
    pub(crate) verbose: u8,
    /// How progress is shown
    #[arg(long, global = true, value_name = "HOW", default_value = "auto",
          help_heading = EVERYWHERE, display_order = 903, hide_possible_values = false)]
    pub(crate) progress: ProgressStyle,
    /// What others see this computer as [env: PEERCONNECT_NAME]
    #[arg(long, global = true, value_name = "NAME",
          help_heading = EVERYWHERE, display_order = 904)]
    pub(crate) name: Option<String>,
    /// UDP port to listen at, and TCP port of the same number for peers whose UDP is blocked; 0
    /// for any free one [env: PEERCONNECT_PORT]
    #[arg(long, global = true, value_name = "PORT",
          help_heading = EVERYWHERE, display_order = 905)]
    pub(crate) port: Option<u16>,
    /// Listen at this address only
    #[arg(long, global = true, value_name = "IP",
          help_heading = EVERYWHERE, display_order = 906)]
    pub(crate) bind: Option<IpAddr>,
    /// TCP port for files of old versions; 0 for any free one
    #[arg(long, global = true, value_name = "PORT",
          help_heading = EVERYWHERE, display_order = 907)]
    pub(crate) legacy_port: Option<u16>,
    /// UDP port for requests of old versions; 0 for any free one
    #[arg(long, global = true, value_name = "PORT",
          help_heading = EVERYWHERE, display_order = 908)]
    pub(crate) legacy_req_port: Option<u16>,
    /// Have nothing to do with old versions, which encrypt nothing
    #[arg(long, global = true, conflicts_with_all = ["legacy_port", "legacy_req_port"],
          help_heading = EVERYWHERE, display_order = 909)]
    pub(crate) no_legacy: bool,
    /// Keep everything in this folder: settings, identity, history [env: PEERCONNECT_CONFIG_DIR]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath,
          help_heading = EVERYWHERE, display_order = 910)]
    pub(crate) config_dir: Option<PathBuf>,
}

/// What is done with JSON lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum JsonStyle {
    /// They are written; nobody is asked
    Lines,
    /// They are written, and read where there is a question
    Ask,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressStyle {
    /// Bars on a terminal, plain lines elsewhere
    Auto,
    /// Bars, where there is a terminal
    Bar,
    /// A line every ten seconds or ten percent
    Plain,
    /// Nothing
    None,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Send files and folders, or a text
    #[command(visible_alias = "tx")]
    Send(SendArgs),
    /// Wait for one transfer or text, take it, and end
    #[command(visible_aliases = ["recv", "rx"])]
    Receive(ReceiveArgs),
    /// Stay and take transfers and texts by the settings, without a terminal
    Daemon(TakeArgs),
    /// Show transfers: running ones and those that can be resumed
    #[command(visible_alias = "ls")]
    List {
        /// Stay and show changes
        #[arg(short, long)]
        watch: bool,
    },
    /// Add files to a running transfer
    Attach {
        /// The transfer: the first digits of its id, as `list` shows it
        id: String,
        /// What to add
        #[arg(required = true, value_hint = ValueHint::AnyPath)]
        paths: Vec<PathBuf>,
    },
    /// Pause a transfer or some of its files
    Pause(Steered),
    /// Continue a transfer, or some of its files; without an id all that can go on
    ///
    /// A transfer of yours that is over is sent again: only what failed if the rest has arrived.
    Resume {
        /// The transfer: the first digits of its id, as `list` shows it
        id: Option<String>,
        /// Only files whose name or path fits, such as '*.mp4'
        #[arg(long, value_name = "GLOB", requires = "id")]
        file: Option<String>,
        /// How long a lost connection is waited for
        #[arg(long, value_name = "TIME", default_value = "2min",
              value_parser = config::parse_duration)]
        retry: Duration,
    },
    /// Give up a transfer or some of its files; complete files stay
    Cancel(Steered),
    /// Send these files before the others
    First {
        /// The transfer: the first digits of its id, as `list` shows it
        id: String,
        /// Name or path of the file; may be a pattern such as '*.pdf'
        file: String,
    },
    /// Say what becomes of files whose names are taken by different content
    Answer {
        /// The transfer: the first digits of its id, as `list` shows it
        id: String,
        /// What becomes of them
        answer: ConflictAnswer,
        /// Only files whose name or path fits, such as '*.mp4' [default: all of the transfer, now
        /// and later]
        #[arg(long, value_name = "GLOB")]
        file: Option<String>,
    },
    /// Show finished transfers and texts, newest first
    History {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        count: u32,
        /// Empty the history
        #[arg(long, conflicts_with = "count")]
        clear: bool,
    },
    /// Show who you are: name, id, addresses, and the link that others can send to
    Id {
        /// Show the link as a QR code too
        #[arg(long)]
        qr: bool,
    },
    /// Show who is in this network and who is known, and say who is trusted
    #[command(args_conflicts_with_subcommands = true)]
    Peers {
        #[command(subcommand)]
        action: Option<PeersVerb>,
        /// Stay and say who appears, changes and goes
        #[arg(short, long)]
        watch: bool,
    },
    /// Be a relay: connect people who cannot reach each other, and carry what they send, which
    /// you cannot read, where there is no direct way
    ///
    /// It needs one UDP port that everybody can reach, and the TCP port of the same number for
    /// those whose UDP is blocked. Give its link to people: they use it with `--relay LINK`, or
    /// write it into `relays` of their settings.
    Relay(RelayServerArgs),
    /// Look at the network: what works here, and what to do about the rest
    ///
    /// With a peer it is called, too. Ends with 0 if nothing is wrong.
    Doctor {
        /// Whether this peer is reached, and how: as for `send --to`
        peer: Option<String>,
        #[command(flatten)]
        relays: RelayArgs,
    },
    /// Show the settings, or change one
    Config {
        /// Which one, such as rate_limit
        key: Option<String>,
        /// Its new value, as in the settings file, without quotes; such as 20M
        value: Option<String>,
        /// Show where everything is kept
        #[arg(long, conflicts_with = "key")]
        paths: bool,
    },
    /// Print a script that completes commands in your shell
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// Files and folders
    #[arg(required_unless_present = "text", value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
    /// Send this text instead, such as a link, of at most 64 KiB; - reads it from standard input,
    /// without the last end of line
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true,
          conflicts_with_all = ["paths", "limit", "separate", "dry_run"])]
    pub(crate) text: Option<String>,
    /// To whom: the name (or its beginning) of a peer in this network or a known one, the whole
    /// name of an old version, an id, a group (`peerconnect peers group`), a peerconnect: link, or
    /// an address; may be given several times, for several receivers, who pass on to each other
    /// what they get, so that all have it in little more than the time of one; without it you
    /// choose, or get a one-time code
    #[arg(long, value_name = "PEER")]
    pub(crate) to: Vec<String>,
    /// To whoever types a one-time code, such as 7-river-copper, which this prints: it works once,
    /// in the same network, and elsewhere if both sides use the same relay. So without --to, too,
    /// where nobody can be asked
    #[arg(long, conflicts_with_all = ["to", "text", "separate"])]
    pub(crate) code: bool,
    /// Show a one-time code as a link, too, and as a QR code: it needs no relay where this computer
    /// can be reached
    #[arg(long, conflicts_with_all = ["to", "text", "separate"])]
    pub(crate) qr: bool,
    /// Most bytes per second for all sending together, such as 20M
    #[arg(long, value_name = "RATE", value_parser = config::parse_bytes)]
    pub(crate) limit: Option<u64>,
    /// Do not add the files to a transfer that is running already (those to several receivers are
    /// never added)
    #[arg(long)]
    pub(crate) separate: bool,
    /// Only print sizes and names of what would be sent
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long a lost connection is waited for before this ends with code 8
    #[arg(long, value_name = "TIME", default_value = "2min",
          value_parser = config::parse_duration)]
    pub(crate) retry: Duration,
    #[command(flatten)]
    pub(crate) relays: RelayArgs,
}

/// Who connects peers that cannot reach each other.
#[derive(Debug, Clone, Args)]
pub(crate) struct RelayArgs {
    /// Connect through this relay where there is no direct way: the link that `peerconnect relay`
    /// prints; it cannot read what is sent. May be given twice [default: as the settings say]
    #[arg(long = "relay", value_name = "LINK", value_parser = relay_link)]
    pub(crate) links: Vec<Link>,
}

/// The link of a relay: it has an address, and no relays of its own.
fn relay_link(text: &str) -> Result<Link, String> {
    let link: Link = text
        .parse()
        .map_err(|error: LinkUriError| error.to_string())?;
    match link.relays.is_empty() && !link.addrs.is_empty() {
        true => Ok(link),
        false => Err("this link is not that of a relay, as `peerconnect relay` prints it".into()),
    }
}

/// A rate of which something can come.
fn rate(text: &str) -> Result<u64, String> {
    const MIN: u64 = 10_000;
    match config::parse_bytes(text) {
        Ok(rate) if rate >= MIN => Ok(rate),
        Ok(_) => Err("at least 10k".into()),
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct RelayServerArgs {
    /// Let only this peer use it: its id or link; may be given several times [default: anybody
    /// who has the relay's link]
    #[arg(long, value_name = "PEER")]
    pub(crate) allow: Vec<String>,
    /// Most bytes per second for each pair of peers, such as 20M [default: no limit]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) limit: Option<u64>,
    /// The same for what each peer sends to all others
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) limit_peer: Option<u64>,
    /// The same for everybody together
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) limit_total: Option<u64>,
    /// Most peers at once
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) max_peers: u32,
    /// Another address where people reach it, as IP or IP:PORT, for its link; may be given several
    /// times [default: those of this computer]
    #[arg(long, value_name = "ADDR")]
    pub(crate) public: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ReceiveArgs {
    /// Take what the sender with this one-time code or link sends, such as 7-river-copper, without
    /// a question. Careful: others at this computer may see what is typed here; --code asks for it
    /// instead [env: PEERCONNECT_CODE]
    #[arg(value_name = "CODE", num_args = 0..=3, conflicts_with = "from")]
    pub(crate) code: Vec<String>,
    /// Ask for the one-time code at the terminal
    #[arg(long = "code", conflicts_with_all = ["code", "from"])]
    pub(crate) ask_code: bool,
    #[command(flatten)]
    pub(crate) take: TakeArgs,
    /// How long to wait for an offer; then this ends with code 7 [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = config::parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// How long a lost connection is waited for before this ends with code 8
    #[arg(long, value_name = "TIME", default_value = "2min",
          value_parser = config::parse_duration)]
    pub(crate) retry: Duration,
}

/// How offers are taken.
#[derive(Debug, Clone, Args)]
pub(crate) struct TakeArgs {
    /// Where files go [default: receive: the current folder; daemon: as the settings say]
    #[arg(short, long, value_name = "DIR", env = "PEERCONNECT_DOWNLOADS", hide_env_values = true,
          value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    /// Take everything from everybody without a question, old versions apart
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Take what old versions send without a question too: not encrypted, and nobody knows from
    /// whom
    #[arg(long)]
    pub(crate) accept_unencrypted: bool,
    /// Take offers of this peer only, and those without a question
    #[arg(long, value_name = "PEER", conflicts_with = "yes")]
    pub(crate) from: Option<String>,
    /// When a name is taken by different content [default: rename]
    #[arg(long, value_name = "HOW")]
    pub(crate) on_conflict: Option<ConflictPolicy>,
    /// Pass nothing on of what its sender sends to others too
    #[arg(long)]
    pub(crate) no_pass_on: bool,
    #[command(flatten)]
    pub(crate) relays: RelayArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Steered {
    /// The transfer: the first digits of its id, as `list` shows it
    pub(crate) id: String,
    /// Only files whose name or path fits, such as '*.mp4'
    #[arg(long, value_name = "GLOB")]
    pub(crate) file: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeersVerb {
    /// Show peers in this network and known ones (default)
    List,
    /// Trust a peer; its files are taken and its texts shown without a question
    Trust {
        /// Its name, or the first characters of its id
        peer: String,
        /// What happens to its offers
        #[arg(long, value_name = "HOW", default_value = "always")]
        accept: AcceptArg,
        /// Where its files go from now on, instead of where those of all go
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        into: Option<PathBuf>,
    },
    /// Forget a peer: its key, name, addresses and trust
    Forget {
        /// Its name, or the first characters of its id
        peer: String,
    },
    /// Give known peers one name, to send to all of them at once
    Group {
        /// The name
        name: String,
        /// Their names, or the first characters of their ids
        #[arg(required = true)]
        peers: Vec<String>,
    },
    /// Forget a group; its members stay known
    Ungroup {
        /// Its name
        name: String,
    },
    /// Give a peer a name of your own
    Rename {
        /// Its name, or the first characters of its id
        peer: String,
        /// The new name
        name: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum AcceptArg {
    /// Ask each time
    Ask,
    /// Take them without a question
    Always,
    /// Do not even show them
    Block,
}

impl From<AcceptArg> for Accept {
    fn from(arg: AcceptArg) -> Self {
        match arg {
            AcceptArg::Ask => Self::Ask,
            AcceptArg::Always => Self::Always,
            AcceptArg::Block => Self::Block,
        }
    }
}
