//! Settings and the folders of the program. Each field's documentation is its meaning, `Default`
//! its value and the reason.
//!
//! The file `config.toml` is written at the first start with every setting in it, commented out;
//! saving changes single lines and leaves the rest of the file, comments included, as it is.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::protocol::link_uri::RelayHint;

mod changes;
mod choices;
mod lists;
mod paths;
mod relays;
mod units;

pub use changes::Setting;
pub use choices::{
    Announce, ConflictAnswer, ConflictPolicy, Dht, LegacyMode, LegacyUnanswered, PassOn,
    PortMapping,
};
pub use paths::{Paths, create_private_dir};
pub use relays::typed as typed_relays;
pub use units::{InvalidUnit, parse_bytes, parse_duration};

/// The UDP port that a node listens at unless told otherwise: that of the original program.
pub const DEFAULT_PORT: u16 = 3485;

/// The TCP port where originals send files. Peers whose UDP is blocked come there, too: what is
/// said first tells who it is.
pub const LEGACY_PORT: u16 = 3485;
/// The UDP port where originals ask who is there.
pub const LEGACY_REQ_PORT: u16 = 3486;

/// What a person can set. Precedence: flag, environment, `config.toml`, default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What others see this computer as.
    pub name: String,
    /// Where received files go.
    #[serde(with = "crate::text::path")]
    pub folder: PathBuf,
    /// UDP port to listen at; 0 for any free one.
    pub port: u16,
    /// Who is told in the network that this computer is there.
    pub announce: Announce,
    /// What happens when a name is taken by different content.
    pub on_conflict: ConflictPolicy,
    /// Most bytes per second that all sending together may take.
    #[serde(with = "units::rate")]
    pub rate_limit: Option<u64>,
    /// Whether this computer passes on to others what a sender sends to all of them.
    pub pass_on: PassOn,
    /// Whether the router is asked to lead a port of its own to this computer.
    pub port_mapping: PortMapping,
    /// Whether peers are found by their keys in the DHT of BitTorrent.
    pub dht: Dht,
    /// Where to begin there, `HOST:PORT` each; the nodes of the public one if there are none.
    #[serde(deserialize_with = "lists::read_nodes")]
    pub dht_nodes: Vec<String>,
    /// Relays where this computer listens, so that peers can call that cannot reach it otherwise.
    #[serde(deserialize_with = "relays::read", serialize_with = "relays::write")]
    pub relays: Vec<RelayHint>,
    /// How long an offer waits for an answer before it counts as not answered. Offers of programs
    /// of the original's kind and texts wait for [`ANSWER_SOON`] at most.
    #[serde(with = "units::duration")]
    pub answer_timeout: Duration,
    /// Whether this computer talks to programs of the original's kind.
    pub legacy: LegacyMode,
    /// TCP port for their files; 0 for any free one.
    pub legacy_port: u16,
    /// UDP port for their requests; 0 for any free one.
    pub legacy_req_port: u16,
    /// What happens to their files when nobody answers in time for them.
    pub legacy_unanswered: LegacyUnanswered,
}

/// How long an answer is waited for where nothing can be kept for later: by texts, and by programs
/// of the original's kind. Also how long a sender takes nobody's answer for somebody on the way.
pub const ANSWER_SOON: Duration = Duration::from_secs(300);

impl Default for Settings {
    fn default() -> Self {
        Self {
            // The name that people know their computer by.
            name: paths::host_name(),
            // Apart from other downloads, so that it is clear what came from people.
            folder: paths::download_folder(),
            // One port to open in a firewall, the same on all computers.
            port: DEFAULT_PORT,
            // People find each other without typing anything.
            announce: Announce::All,
            // Never loses anything of either side.
            on_conflict: ConflictPolicy::Rename,
            // Full speed; who shares a line sets it.
            rate_limit: None,
            // Everybody is done sooner, and nobody pays for it.
            pass_on: PassOn::Local,
            // People elsewhere reach this computer without a relay; who calls still has to prove
            // who he is.
            port_mapping: PortMapping::On,
            // Strangers run it, and see the address of whoever asks.
            dht: Dht::Off,
            dht_nodes: Vec::new(),
            // No third party unless somebody chose one.
            relays: Vec::new(),
            // Whoever is out today answers tomorrow; the sender may take it back at any time.
            answer_timeout: Duration::from_secs(86_400),
            // People who still run the original are reached without a setting; nothing of theirs
            // is taken without a question.
            legacy: LegacyMode::On,
            // Where originals look.
            legacy_port: LEGACY_PORT,
            legacy_req_port: LEGACY_REQ_PORT,
            // A person needs longer than 4 s, and a sender should not have to send twice.
            legacy_unanswered: LegacyUnanswered::Hold,
        }
    }
}

/// Key, meaning and value of a setting as they are written.
type Field = (&'static str, &'static str, String);

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is there but cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file, or a variable of the environment, does not make sense.
    #[error("{place}: {why}")]
    Invalid {
        /// File and line, or name of the variable.
        place: String,
        /// What is wrong, and the nearest thing that would be right.
        why: String,
    },
}

impl From<SettingsError> for Fault {
    fn from(error: SettingsError) -> Self {
        Self::Invalid {
            why: error.to_string(),
        }
    }
}

impl Settings {
    /// Reads the settings: `config.toml`, then `PEERCONNECT_NAME`, `PEERCONNECT_DOWNLOADS`,
    /// `PEERCONNECT_PORT` and `PEERCONNECT_ANNOUNCE`. Writes a commented file if there is none; a
    /// folder that cannot be written is no error here.
    pub fn load(paths: &Paths) -> Result<Self, SettingsError> {
        let mut settings = Self::from_file(&paths.settings_file())?;
        settings.apply_env(|name| std::env::var_os(name).filter(|v| !v.is_empty()))?;
        Ok(settings)
    }

    fn from_file(path: &Path) -> Result<Self, SettingsError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let settings = Self::default();
                if let Err(error) = settings.save_to(path) {
                    tracing::debug!(%error, "no settings file could be written");
                }
                Ok(settings)
            }
            Err(source) => Err(SettingsError::File {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// The settings in the text of a `config.toml`; `path` is for the error only.
    fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let line = text.bytes().take(at).filter(|b| *b == b'\n').count() + 1;
            let mut why = error.message().to_owned();
            let word = text.get(at..).unwrap_or_default();
            if why.starts_with("unknown field")
                && let Some(key) = nearest_key(word)
            {
                why = format!("{why}; did you mean `{key}`?");
            }
            SettingsError::Invalid {
                place: format!("{} line {line}", path.display()),
                why,
            }
        })
    }

    fn apply_env(&mut self, get: impl Fn(&str) -> Option<OsString>) -> Result<(), SettingsError> {
        let invalid = |place: &str, why: &str| SettingsError::Invalid {
            place: place.into(),
            why: why.into(),
        };
        if let Some(name) = get("PEERCONNECT_NAME") {
            self.name = name
                .into_string()
                .map_err(|_| invalid("PEERCONNECT_NAME", "not UTF-8"))?;
        }
        if let Some(folder) = get("PEERCONNECT_DOWNLOADS") {
            self.folder = folder.into();
        }
        if let Some(port) = get("PEERCONNECT_PORT") {
            self.port = port
                .to_str()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| invalid("PEERCONNECT_PORT", "not a port number"))?;
        }
        if let Some(announce) = get("PEERCONNECT_ANNOUNCE") {
            let parsed = announce
                .to_str()
                .and_then(|text| clap::ValueEnum::from_str(text, false).ok());
            self.announce = parsed
                .ok_or_else(|| invalid("PEERCONNECT_ANNOUNCE", "neither \"all\" nor \"never\""))?;
        }
        Ok(())
    }

    /// Writes the settings to `config.toml`: lines of changed settings only, all other lines stay.
    pub fn save(&self, paths: &Paths) -> Result<(), SettingsError> {
        let path = paths.settings_file();
        self.save_to(&path)
            .map_err(|source| SettingsError::File { path, source })
    }

    fn save_to(&self, path: &Path) -> io::Result<()> {
        let old = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::commented(),
            Err(error) => return Err(error),
        };
        let mut new = self.written_into(&old);
        if Self::parse(&new, path).ok().as_ref() != Some(self) {
            // Somebody's file that lines cannot be changed in (a value over several lines).
            new = self.written_into(&Self::commented());
        }
        if let Some(folder) = path.parent() {
            create_private_dir(folder)?;
        }
        // A crash leaves the old file or the new one, never half of one.
        let aside = path.with_extension("toml.new");
        std::fs::write(&aside, new)?;
        std::fs::rename(&aside, path)
    }

    /// Keys, meanings and values as they are written.
    fn fields(&self) -> Vec<Field> {
        let text = |text: &str| toml::Value::from(text).to_string();
        let mut fields = vec![
            (
                "name",
                "What others see this computer as. Default: its host name.",
                text(&self.name),
            ),
            (
                "folder",
                "Where received files go. Default: PeerConnect in your download folder.\n\
                 # (`peerconnect receive` puts files into the current folder.)",
                text(&self.folder.to_string_lossy()),
            ),
            (
                "port",
                "UDP port to listen at, and TCP port for peers whose UDP is blocked; 0 for any\n\
                 # free one. This is what a firewall must let in.",
                self.port.to_string(),
            ),
            (
                "announce",
                "Who is told in the network that this computer is there: \"all\", or \"never\" \
                 anybody\n# (then nobody is looked for either, and nothing at all is sent).",
                text(&self.announce.to_string()),
            ),
            (
                "on_conflict",
                "When a name is taken by different content: \"rename\" (keep both), \"skip\",\n\
                 # \"overwrite\", \"fail\", or \"ask\" you each time (where nobody can be asked,\n\
                 # as \"rename\"). Equal content is never taken twice.",
                text(&self.on_conflict.to_string()),
            ),
            (
                "rate_limit",
                "Most bytes per second for all sending together, as in \"20M\"; \"none\" for no \
                 limit.",
                match self.rate_limit {
                    Some(rate) => rate.to_string(),
                    None => text("none"),
                },
            ),
            (
                "pass_on",
                "When the same files are sent to several at once: whether this computer passes on \
                 to the\n# others what it has got: \"local\" (in the local network), \"always\" \
                 or \"never\".",
                text(&self.pass_on.to_string()),
            ),
            (
                "answer_timeout",
                "How long an offer waits for your answer, as in \"90s\", \"5min\", \"2h\".",
                text(&format!("{}s", self.answer_timeout.as_secs())),
            ),
        ];
        fields.extend(self.reach_fields());
        fields.extend(self.legacy_fields());
        fields
    }

    /// Those about people elsewhere.
    fn reach_fields(&self) -> [Field; 4] {
        let text = |text: &str| toml::Value::from(text).to_string();
        [
            (
                "port_mapping",
                "Whether to ask your router (by PCP, NAT-PMP or UPnP) to lead a port to this \
                 computer, so\n# that people elsewhere reach it without a relay: \"on\" (while it \
                 shows itself nearby) or \"off\".",
                text(&self.port_mapping.to_string()),
            ),
            (
                "dht",
                "Whether to find people who are elsewhere by their keys alone, and be found by \
                 those who have\n# your link, in the DHT of BitTorrent: \"on\" or \"off\". \
                 Strangers run it: they see your address, not who\n# you are. Those who have \
                 your link can look up where you are from then on.",
                text(&self.dht.to_string()),
            ),
            (
                "dht_nodes",
                "Where to begin in the DHT, as in [\"dht.example.org:6881\"]. Default: where \
                 BitTorrent does.",
                lists::written(self.dht_nodes.clone()),
            ),
            (
                "relays",
                "Relays that connect you with people who cannot reach this computer directly: \
                 the links\n# that `peerconnect relay` prints, as in [\"peerconnect:...\"]. They \
                 cannot read what is sent.",
                relays::written(&self.relays),
            ),
        ]
    }

    /// Those about old versions.
    fn legacy_fields(&self) -> [Field; 4] {
        let text = |text: &str| toml::Value::from(text).to_string();
        [
            (
                "legacy",
                "Whether to talk to old versions of PeerConnect (1.x, Python), which encrypt \
                 nothing:\n# \"on\", \"receive-only\" or \"off\". Nothing of theirs is ever \
                 taken without a question.",
                text(&self.legacy.to_string()),
            ),
            (
                "legacy_port",
                "TCP port for the files of old versions; 0 for any free one.",
                self.legacy_port.to_string(),
            ),
            (
                "legacy_req_port",
                "UDP port for the requests of old versions; 0 for any free one.",
                self.legacy_req_port.to_string(),
            ),
            (
                "legacy_unanswered",
                "Old versions wait 4 seconds for an answer. When nobody has answered then: \
                 \"hold\" (say yes,\n# and keep what comes aside until you decide) or \
                 \"decline\".",
                text(&self.legacy_unanswered.to_string()),
            ),
        ]
    }

    /// A settings file that sets nothing and explains everything.
    fn commented() -> String {
        let mut text = String::from(
            "# Settings of PeerConnect. A line that starts with # is a comment: remove the # to \
             set a value.\n",
        );
        for (key, meaning, value) in Self::default().fields() {
            text.push_str(&format!("\n# {meaning}\n# {key} = {value}\n"));
        }
        text
    }

    /// `old` with the lines of those settings changed that have other values there.
    fn written_into(&self, old: &str) -> String {
        let before = Self::parse(old, Path::new("")).unwrap_or_default();
        let mut lines: Vec<String> = old.lines().map(str::to_owned).collect();
        for ((key, _, value), (_, _, was)) in self.fields().into_iter().zip(before.fields()) {
            if value == was {
                continue;
            }
            let line = format!("{key} = {value}");
            let place = lines.iter_mut().rfind(|l| key_of_line(l) == Some(key));
            match place {
                Some(place) => *place = line,
                None => lines.push(line),
            }
        }
        lines.join("\n") + "\n"
    }
}

/// The key that a line sets, or would set without its `#`.
fn key_of_line(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(['#', ' ', '\t']);
    let (key, _) = line.split_once('=')?;
    Some(key.trim_end())
}

/// Most wrong letters in a word for which another one is suggested.
const TYPOS_MAX: usize = 2;

/// The setting whose name is nearest to the first word of `text`, if any is near.
fn nearest_key(text: &str) -> Option<&'static str> {
    let word: String = text
        .chars()
        .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
        .take(32)
        .collect();
    Settings::default()
        .fields()
        .into_iter()
        .map(|(key, ..)| (distance(key, &word), key))
        .filter(|(distance, _)| *distance <= TYPOS_MAX)
        .min()
        .map(|(_, key)| key)
}

/// How many letters must be put in, taken out or changed to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((y, above), diagonal) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            let left = next.last().copied().unwrap_or(0);
            let changed = diagonal + usize::from(x != *y);
            next.push(changed.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
