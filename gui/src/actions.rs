//! What a person can do in the window, and what the window asks for because of it.

use std::path::PathBuf;
use std::sync::Arc;

use peerconnect::node::api::{Command, Who};
use peerconnect::peer::PeerId;
use peerconnect::protocol::message::{FileIndex, TransferId};
use peerconnect::protocol::texts::TextId;

use crate::menu::MenuChange;
use crate::outside::Pick;
use crate::texts::TextAction;
use crate::theme::Tone;

/// What a person did in a panel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Ask the node for something.
    Ask(Command, About),
    /// Show a dialog; what is chosen is for this.
    Pick(Pick, Whose),
    /// Add these to what will be sent.
    Stage(Vec<PathBuf>),
    /// Add these to what will be sent, if all of them are there; otherwise what was pasted is a
    /// text.
    Pasted(Vec<PathBuf>, String),
    /// Add this to the text that is being written.
    Write(String),
    /// Add this picture to what will be sent, as a file.
    StagePicture(Arc<egui::ColorImage>),
    /// Say this in a notice.
    Say(Tone, String),
    /// Take the staged entry at this place out again.
    Unstage(usize),
    /// Take all staged entries out.
    UnstageAll,
    /// Choose or unchoose a device to send to.
    Choose(Who, bool),
    /// Choose or unchoose all devices of a group.
    ChooseGroup(String, bool),
    /// Make a group of the chosen devices.
    MakeGroup(String),
    /// Give a group another name.
    RenameGroup(String, String),
    /// Send what is staged to the chosen devices.
    Send,
    /// Send what is staged to this device once it is there.
    SendWhenOnline(Who),
    /// Send what is staged to whoever types a one-time code.
    SendWithCode,
    /// Add what is staged to a running transfer.
    Attach(TransferId),
    /// Connect to what is typed.
    AddPeer(String),
    /// Show a link where devices are added, for the person to use it.
    ShowTyped(String),
    /// Select a row.
    Select(TransferId),
    /// Show or hide the files of a transfer.
    Unfold(TransferId, bool),
    /// Show or hide what stands behind the failure of a transfer.
    Detail(TransferId, bool),
    /// Show or hide the devices that the files of a session go to.
    Spread(TransferId, bool),
    /// These rows are on the screen and due to be asked for.
    NeedPage(TransferId, u32),
    /// Ask whether this transfer shall really be cancelled, or stop asking.
    DoubtCancel(Option<TransferId>),
    /// Ask at this transfer whether there shall really be a new identity, or stop asking.
    DoubtIdentity(Option<TransferId>),
    /// Put this text on the clipboard.
    Copy(String),
    /// Show or hide our link as a QR code.
    ShowLink(bool),
    /// Look at the network, and call this device, if any.
    Check(Option<String>),
    /// Put us into the desktop's applications menu or among what it starts, or take us out.
    ChangeMenu(MenuChange),
    /// Turn to this page.
    Show(Page),
    /// Show what has these words in the history.
    LookFor(String),
    /// Read the history anew.
    ForgetHistory,
    /// Stage what this entry of the history has sent, for whom it went to.
    SendFromHistory(usize),
    /// Find out how much room there is for a transfer in this folder.
    LookForRoom(TransferId, PathBuf),
    /// Ask where files shall arrive from now on.
    ChangeFolder,
    /// Show a folder in the system's file manager, and mark what has this name in it.
    ShowFolder(PathBuf, Option<String>),
    /// Open a file with the program that the system has for it.
    OpenFile(PathBuf),
    /// Open the only file of this transfer with the program that the system has for it.
    Open(TransferId),
    /// Something with a text.
    Text(TextAction),
    /// Take a notice of ours away.
    Dismiss(u64),
    /// Take a notice of the node away.
    DismissNode(String),
    /// Take away what devices say that do not reach this one, for good.
    DismissMissed,
    /// The person wants to leave.
    Leave,
    /// The person was asked about running transfers, and wants this.
    Left(Leaving),
}

/// Sends these paths to whoever it is, or to all of several.
pub(crate) fn sending(to: Vec<Who>, paths: Vec<PathBuf>) -> Action {
    let about = About::Send(paths.clone());
    let command = match to.as_slice() {
        [who] => Command::SendFiles {
            to: (*who).into(),
            paths,
            separate: false,
        },
        several => Command::SendToMany {
            to: several.iter().map(|who| (*who).into()).collect(),
            paths,
        },
    };
    Action::Ask(command, about)
}

/// What becomes of running transfers when the window is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Leaving {
    /// The window stays.
    Not,
    /// They go on without a window; the program ends when they have ended.
    Behind,
    /// They stop, and go on when the program is started again.
    Stop,
}

/// What a dialog is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    /// What is sent next; or the folder for all that comes.
    Mine,
    /// The folder of an incoming transfer.
    Transfer(TransferId),
    /// The folder for what a device sends.
    Peer(PeerId),
}

/// What a question to the node was for, to know what its reply means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum About {
    /// Only a failure is of interest.
    Nothing,
    /// Nor is a failure.
    NotEvenFailure,
    /// A transfer in place of this one, which is over and goes when the new one is there.
    InPlaceOf(TransferId),
    /// A new key for this installation.
    NewIdentity,
    /// Staged files on their way to a device: they come back if that fails.
    Send(Vec<PathBuf>),
    /// A device that was typed.
    AddPeer,
    /// A group under its new name: the one of the old name goes when it is there.
    RenamedGroup(String),
    /// The answer to a question: it can be answered again if this fails.
    Answer(TransferId),
    /// What becomes of a file whose name is taken: it can be said again if this fails.
    Conflict(TransferId, FileIndex),
    /// What is in a text that has come.
    ReadText(TextId),
    /// The answer to the question about a text: it can be answered again if this fails.
    AnswerText(TextId),
    /// A text on its way to a device: it comes back if that fails.
    SendText(String),
    /// A page of a file table.
    Page(TransferId, u32),
    /// The only file of a transfer, to open it.
    Open(TransferId),
    /// What has ended.
    History,
    /// What works in the network.
    Check,
}

/// What stands in the middle of the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Page {
    /// What is being sent and received.
    #[default]
    Transfers,
    /// What was.
    History,
    /// What can be set.
    Settings,
    /// What works in the network, and what to do about the rest.
    Check,
    /// What this program is, and its log.
    About,
    /// What the keys do.
    Keys,
}
