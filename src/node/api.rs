//! How faces (window, command line, control socket) talk to a node: commands in, pictures out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

pub use super::check::{Finding, Grade};
pub use super::codes::{AGREED_FOR, CodeCommand, CodeReach, CodeSnapshot, CodeState, Taking};
pub use super::texts::{TextCommand, TextSnapshot, TextState};
pub use super::who::{LegacyMe, Me, Nearby, PeerInfo};
use crate::config::{ConflictAnswer, ConflictPolicy, Setting, Settings};
use crate::fault::Fault;
pub use crate::net::discovery::{OriginalId, Presence, Who};
pub use crate::otm::session::SessionSnapshot;
use crate::peer::PeerId;
use crate::protocol::link_uri::RelayHint;
use crate::protocol::message::{FileIndex, Scope, TransferId};
use crate::protocol::texts::TextId;
pub use crate::storage::store::GroupRecord;
use crate::storage::store::{Accept, HistoryRecord};
pub use crate::transfer::control::Decision;
use crate::transfer::control::People;
use crate::transfer::status::{FileQuery, FileRow, TransferSnapshot};

/// Who files are sent to, as a person says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A peer we know, by key.
    Peer(PeerId),
    /// Anything a person types: a `peerconnect:` link, the name of a known or near peer,
    /// `host:port`, `legacy:IP` for an original.
    Text(String),
}

impl From<Who> for Target {
    fn from(who: Who) -> Self {
        match who {
            Who::Key(id) => Self::Peer(id),
            Who::Original(id) => Self::Text(id.address().to_string()),
        }
    }
}

/// What can be asked of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// `send_files_to_peer`: sends files and folders. A transfer that is already running to that
    /// peer gets them attached, unless `separate`; an unfinished transfer of the same paths to the
    /// same peer is continued. Replies [`Reply::Transfer`] as soon as the transfer exists.
    SendFiles {
        /// To whom.
        to: Target,
        /// Absolute paths.
        #[serde(with = "crate::text::paths")]
        paths: Vec<PathBuf>,
        /// Open a transfer of its own even if one is running.
        separate: bool,
    },
    /// Sends files and folders to one receiver in a transfer of its own, and waits for it as long
    /// as it is not there, also over restarts of this program. Replies [`Reply::Transfer`].
    SendWhenOnline {
        /// To whom.
        to: Target,
        /// Absolute paths.
        #[serde(with = "crate::text::paths")]
        paths: Vec<PathBuf>,
    },
    /// `start_new_otm_file_transfer`: sends files and folders to several receivers, as one session
    /// with a transfer to each. One who declines or cannot be reached is left out, and the others
    /// go on. Who was getting the same paths before and has not got all of them goes on, in the
    /// session that there was. Replies [`Reply::Session`] as soon as the transfers exist; an error
    /// before anything has begun, if it is not clear who is meant by one of `to`.
    SendToMany {
        /// To whom, at most [`RECEIVERS_MAX`](crate::otm::session::RECEIVERS_MAX).
        to: Vec<Target>,
        /// Absolute paths.
        #[serde(with = "crate::text::paths")]
        paths: Vec<PathBuf>,
    },
    /// Adds files to a running transfer of ours, or to all of a session.
    Attach {
        /// Which.
        transfer: TransferId,
        /// Absolute paths.
        #[serde(with = "crate::text::paths")]
        paths: Vec<PathBuf>,
    },
    /// Answers the question of an incoming transfer.
    Answer {
        /// Which.
        transfer: TransferId,
        /// The person's decision.
        decision: Decision,
    },
    /// Says what shall become of a file whose name is taken by different content
    /// ([`TransferSnapshot::conflict`]).
    AnswerConflict {
        /// Which transfer.
        transfer: TransferId,
        /// That file; or the whole transfer: all files that wait for an answer, and those that
        /// will.
        scope: Scope,
        /// What shall become of them.
        answer: ConflictAnswer,
    },
    /// A person is at this face and can be asked, until the face or its connection ends.
    Attend,
    /// The person of [`Command::Attend`] can be asked no more, though the face stays.
    Leave,
    /// Pauses a transfer, one file of it, or all transfers of a session.
    Pause {
        /// Which transfer.
        transfer: TransferId,
        /// All of it or one file.
        scope: Scope,
    },
    /// Continues a paused or interrupted transfer, one file of it, or all of a session.
    Resume {
        /// Which transfer.
        transfer: TransferId,
        /// All of it or one file.
        scope: Scope,
    },
    /// Gives up a transfer, one file of it, or all of a session. Complete files stay.
    Cancel {
        /// Which transfer.
        transfer: TransferId,
        /// All of it or one file.
        scope: Scope,
    },
    /// Sends files of a transfer of ours again, that is over or whose file failed, as a transfer of
    /// its own. What has arrived is not sent twice. Of a session: to every receiver that did not
    /// get everything; the new transfers take the place of the old ones in it. Replies
    /// [`Reply::Transfer`] with the new id, or that of the session.
    SendAgain {
        /// Which transfer.
        transfer: TransferId,
        /// Which of its files.
        what: Again,
    },
    /// Trusts whoever has answered in place of the receiver of a transfer of ours, which failed
    /// with [`Fault::IdentityChanged`], because a person has compared the three words: this key
    /// takes the place of the old one, with its name, folder and groups, and the same is sent to
    /// it. Replies [`Reply::Transfer`] with the new id.
    TrustInstead {
        /// Which transfer.
        transfer: TransferId,
        /// The key whose words were compared.
        key: PeerId,
    },
    /// Sends this file before the others.
    First {
        /// Which transfer.
        transfer: TransferId,
        /// Which file.
        index: FileIndex,
    },
    /// Rows of a transfer's file table. Replies [`Reply::Files`].
    Files {
        /// Which transfer.
        transfer: TransferId,
        /// Which rows.
        query: FileQuery,
    },
    /// Takes finished transfers out of the overview (they stay in the history).
    ClearFinished,
    /// Takes a finished transfer out of the overview, as [`Self::ClearFinished`] does all of them.
    Dismiss(TransferId),
    /// Says whom a text means, without calling anybody. Replies [`Reply::Found`]; an error if it
    /// could be several, or nobody.
    Find(String),
    /// Connects to a peer without sending anything, so that it becomes known.
    /// Replies [`Reply::Peer`].
    AddPeer(Target),
    /// Trusts a peer, and says what happens to its offers.
    Trust {
        /// Who.
        peer: PeerId,
        /// What happens to its offers from now on.
        accept: Accept,
    },
    /// Gives the files of a peer a folder of their own; `None` for where those of all go.
    SetPeerFolder {
        /// Who.
        peer: PeerId,
        /// Absolute.
        #[serde(with = "crate::text::path_option")]
        folder: Option<PathBuf>,
    },
    /// Forgets a peer: its key, name and addresses; its trust is gone.
    Forget(PeerId),
    /// Gives a peer a name of our own.
    Rename {
        /// Who.
        peer: PeerId,
        /// The new name.
        name: String,
    },
    /// Gives peers one name, to send to all of them, in place of a group of that name; without
    /// members that group is forgotten. An error if it is the name of a peer, or no name.
    SetGroup(GroupRecord),
    /// Listens at these relays, too, as long as the node runs.
    UseRelays(Vec<RelayHint>),
    /// Changes a setting and keeps it; [`Chosen::after_restart`] says what needs a new start.
    /// Replies an error if the value makes no sense, or a folder cannot be used.
    Set(Setting),
    /// Takes the next offer by this rule instead of the settings, once. Used by `receive` when
    /// another instance is running.
    Expect(ReceiveRule),
    /// Finished transfers and texts, newest first. Replies [`Reply::History`].
    History {
        /// At most so many.
        count: u32,
    },
    /// Empties the history.
    ClearHistory,
    /// Something about texts.
    Text(TextCommand),
    /// Something about one-time codes.
    Code(CodeCommand),
    /// Ends the node in order once no transfer runs any more and nobody [attends](Self::Attend).
    FinishAndEnd,
    /// Ends the node in order: transfers keep what they have and go on after the next start.
    Shutdown,
    /// Looks at the network: what works here, and what to do about the rest. Replies
    /// [`Reply::Checked`] after a few seconds.
    CheckNetwork {
        /// Who is called, too, to say how it is reached.
        call: Option<Target>,
    },
    /// Makes a new key for this installation, which holds from the next start on: until then
    /// everybody knows it as before. The old key is kept beside it, as `identity.key.old`, in place
    /// of an older one. An error if that cannot be written.
    NewIdentity,
    /// Whoever [expected](Self::Expect) something by this rule has gone. Nothing happens if it has
    /// come meanwhile.
    ExpectNoMore(ReceiveRule),
}

/// Which files are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Again {
    /// All of them.
    All,
    /// All of them, and the receiver is waited for as long as it is not there.
    WhenOnline,
    /// Those that failed.
    Failed,
    /// This one.
    File(FileIndex),
    /// All of them, without encryption, to the program of the original's kind that is where the
    /// receiver was looked for ([`Fault::Version`]).
    Unencrypted,
}

/// How offers are taken where no person is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiveRule {
    /// Take offers of anybody without a question; those of originals are not meant.
    pub accept_all: bool,
    /// Take offers of originals without a question too, though nobody knows who sends them.
    #[serde(default)]
    pub accept_unencrypted: bool,
    /// Where the files go.
    #[serde(with = "crate::text::path")]
    pub folder: PathBuf,
    /// What happens when a name is taken by different content.
    pub on_conflict: ConflictPolicy,
    /// Whether content is passed on as the settings say; otherwise none is.
    #[serde(default = "as_set")]
    pub pass_on: bool,
}

fn as_set() -> bool {
    true
}

/// What a command gives back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// The transfer that was started, continued or attached to.
    Transfer {
        /// Its id.
        id: TransferId,
        /// Whether the files went into a transfer that was already running.
        attached: bool,
    },
    /// The session that was started or continued.
    Session {
        /// Its id.
        id: TransferId,
        /// Its transfers.
        transfers: Vec<TransferId>,
    },
    /// Rows, see [`FileQuery`].
    Files(Vec<FileRow>),
    /// A peer.
    Peer(PeerId),
    /// Whom a text means.
    Found(Found),
    /// Finished transfers, and texts.
    History(Vec<HistoryRecord>),
    /// What was found in the network, in the order in which it is told.
    Checked(Vec<Finding>),
    /// The text that is on its way now.
    TextSent(TextId),
    /// What is in a text. If it came from elsewhere it is hostile: show it with
    /// [`crate::text::Shown`].
    Text(String),
    /// A code was right: this transfer comes from this peer, and is taken.
    Agreed {
        /// Who.
        peer: PeerId,
        /// What it will offer.
        transfer: TransferId,
    },
}

/// Whom a text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// This peer: its key was typed, or a name that the person gave it or trusts.
    Sure(PeerId),
    /// The only peer in the network, or among those that were seen before, that calls itself so.
    Claimed(PeerId),
    /// A program of the original's kind: no peer with a key is called so, and only this one is.
    Original(OriginalId),
    /// A link, an address, or what was used as one before.
    Address,
    /// Nobody calls himself so; it may be the name of a host.
    Host,
}

/// The node as it is now. A new one is published at most ten times a second while files move,
/// and at once when something changes state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// Who we are.
    pub me: Me,
    /// Peers we know, most recently seen first.
    pub peers: Arc<[PeerInfo]>,
    /// Groups of peers that the person made, by name.
    pub groups: Arc<[GroupRecord]>,
    /// Who is in the same network now, known or not: those we trust first, then by name.
    pub nearby: Arc<[Nearby]>,
    /// Whether others are looked for, and told of us.
    pub presence: Presence,
    /// Since when they are listened for: who was there before is heard of a second or two later.
    #[serde(default = "super::who::long_ago")]
    pub listens_since: SystemTime,
    /// Whether multicast works on this computer, without which others are not found by
    /// themselves; `None` if it was not looked at, because others are heard or not looked for.
    #[serde(default)]
    pub multicast: Option<bool>,
    /// Transfers of this run and unfinished ones of earlier runs, oldest first.
    pub transfers: Arc<[TransferSnapshot]>,
    /// Which of them belong together because their files go to several receivers, oldest first.
    pub sessions: Arc<[SessionSnapshot]>,
    /// Texts of this run, without what is in them, oldest first; at most
    /// [`TEXTS_MAX`](super::texts::TEXTS_MAX).
    pub texts: Arc<[TextSnapshot]>,
    /// One-time codes that wait, and how those ended that do not any more; oldest first.
    #[serde(default)]
    pub codes: Arc<[CodeSnapshot]>,
    /// Other receivers of the same files that get them from here now.
    #[serde(default)]
    pub passing_on: u32,
    /// Things a person should know that belong to no transfer, newest last; a few at most.
    pub notices: Arc<[String]>,
    /// What the person has set.
    pub chosen: Arc<Chosen>,
}

/// The settings as a person wants them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// All of them.
    pub settings: Settings,
    /// Keys of those that hold from the next start on; until then what was set before holds.
    pub after_restart: Vec<String>,
}

impl Overview {
    /// The peer with this key, if it is near.
    pub fn near(&self, id: PeerId) -> Option<&Nearby> {
        self.nearby.iter().find(|near| near.key() == Some(id))
    }

    /// The text with this id.
    pub fn text(&self, id: TextId) -> Option<&TextSnapshot> {
        self.texts.iter().find(|text| text.id == id)
    }

    /// The group with this name, in upper or lower case.
    pub fn group(&self, name: &str) -> Option<&GroupRecord> {
        let name = name.trim().to_lowercase();
        self.groups.iter().find(|g| g.name.to_lowercase() == name)
    }

    /// The session with this id.
    pub fn session(&self, id: TransferId) -> Option<&SessionSnapshot> {
        self.sessions.iter().find(|session| session.id == id)
    }

    /// The transfers of a session that are here, in the order of its receivers.
    pub fn transfers_of<'a>(
        &'a self,
        session: &'a SessionSnapshot,
    ) -> impl Iterator<Item = &'a TransferSnapshot> {
        let ids = session.receivers.iter().map(|receiver| receiver.transfer);
        ids.filter_map(|id| self.transfer(id))
    }

    /// The transfer with this id.
    pub fn transfer(&self, id: TransferId) -> Option<&TransferSnapshot> {
        self.transfers.iter().find(|t| t.id == id)
    }
}

/// A command and where its reply goes.
pub type Request = (Command, oneshot::Sender<Result<Reply, Fault>>);

/// Requests that may wait for the node; a face that is faster waits itself.
pub const REQUESTS_MAX: usize = 64;

/// A face's end of a node, in this process or behind the control socket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    requests: mpsc::Sender<Request>,
    overview: watch::Receiver<Arc<Overview>>,
    people: People,
}

impl NodeHandle {
    /// A handle and the node's ends of it.
    pub fn new(first: Overview) -> (Self, mpsc::Receiver<Request>, watch::Sender<Arc<Overview>>) {
        let (requests, incoming) = mpsc::channel(REQUESTS_MAX);
        let (publisher, overview) = watch::channel(Arc::new(first));
        let handle = Self {
            requests,
            overview,
            people: People::default(),
        };
        (handle, incoming, publisher)
    }

    /// Who looks at a node of this process; see [`Command::Attend`].
    pub(super) fn people(&self) -> &People {
        &self.people
    }

    /// Asks for something and waits for the reply. A node that has ended answers
    /// [`Fault::Internal`]. Cancel-safe, but the command may be carried out all the same.
    pub async fn call(&self, command: Command) -> Result<Reply, Fault> {
        let (reply, answer) = oneshot::channel();
        let gone = || Fault::Internal {
            what: "the node has ended".into(),
        };
        self.requests
            .send((command, reply))
            .await
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Asks for something from outside async code, without waiting. The receiver gets the reply.
    /// `None` if the node has ended or too many requests wait.
    pub fn post(&self, command: Command) -> Option<oneshot::Receiver<Result<Reply, Fault>>> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send((command, reply)).ok()?;
        Some(answer)
    }

    /// The node as it is now, and every later picture. The channel closes when the node ends.
    pub fn overview(&self) -> watch::Receiver<Arc<Overview>> {
        self.overview.clone()
    }

    /// Whether anybody [attends](Command::Attend) to a node of this process, at whatever face. Of
    /// another process's node this is not known: nobody, then.
    pub fn is_attended(&self) -> bool {
        self.people.is_anybody_there()
    }

    /// Whether the node has ended.
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }
}
