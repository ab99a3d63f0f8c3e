//! What the window asks the node, and what it makes of the replies.

use peerconnect::fault::Fault;
use peerconnect::node::api::{CodeCommand, Command, Reply, Taking, Target, Who};
use peerconnect::protocol::codes::TypedCode;

use crate::app::App;
use crate::model::About;
use crate::theme::Tone;

/// What was typed where a device is added: a one-time code that somebody has read out, or a link
/// with one, or where the device is. Links come from anywhere: there is a question then.
pub(crate) fn adding(text: String) -> Command {
    match text.parse::<TypedCode>() {
        Ok(typed) => Command::Code(CodeCommand::Receive {
            code: text,
            taking: match typed.link {
                Some(_) => Taking::Asked,
                None => Taking::AsSet,
            },
        }),
        Err(_) => Command::AddPeer(Target::Text(text)),
    }
}

impl App {
    pub(crate) fn ask(&mut self, command: Command, about: About) {
        match about {
            About::Answer(transfer) => {
                self.model.answer(transfer);
            }
            About::Conflict(transfer, file) => {
                self.model.decided.insert((transfer, file));
            }
            About::AnswerText(text) => {
                self.model.texts.answered.insert(text);
            }
            About::RenamedGroup(_) => {}
            About::Nothing | About::Send(_) | About::AddPeer | About::SendText(_) => {}
            About::NotEvenFailure | About::InPlaceOf(_) | About::NewIdentity => {}
            About::Page(..) | About::Open(_) | About::ReadText(_) | About::History => {}
            About::Check => self.model.check.begin(),
        }
        if let Err(fault) = self.bridge.ask(command, about.clone()) {
            self.reply(about, Err(fault));
        }
    }

    pub(crate) fn take_replies(&mut self) {
        for (about, result) in self.bridge.replies() {
            self.reply(about, result);
        }
    }

    fn reply(&mut self, about: About, result: Result<Reply, Fault>) {
        match (&about, &result) {
            (About::AddPeer, Ok(Reply::Peer(peer))) => {
                self.model.chosen.insert(Who::Key(*peer));
                self.drafts.peers.typed.clear();
            }
            (About::AddPeer, Ok(Reply::Agreed { .. })) => {
                let text = "The code is right: what it is for comes now.";
                self.model.say(Tone::Ok, text);
                self.drafts.peers.typed.clear();
            }
            (About::Send(paths), Err(_)) => {
                let paths = paths.clone();
                self.look(paths);
            }
            (About::Answer(transfer), Err(_)) => {
                self.model.answered.remove(transfer);
            }
            (About::Conflict(transfer, file), Err(_)) => {
                self.model.decided.remove(&(*transfer, *file));
            }
            (About::Open(transfer), Ok(Reply::Files(rows))) => self.open_file(*transfer, rows),
            (About::Page(transfer, page), result) => {
                let rows = match result {
                    Ok(Reply::Files(rows)) => Some(rows.clone()),
                    Ok(_) | Err(_) => None,
                };
                if let Some(pages) = self.model.unfolded.get_mut(transfer) {
                    pages.came(*page, rows);
                }
                // The transfer may have gone meanwhile: no news.
                return;
            }
            (About::RenamedGroup(old), Ok(_)) => {
                let gone = crate::groups_ui::without_members(old);
                self.ask(gone, About::Nothing);
            }
            (About::RenamedGroup(_), Err(_)) => {}
            (About::NotEvenFailure, _) => return,
            (About::InPlaceOf(old), Ok(_)) => {
                // It may have been taken away by somebody else.
                self.ask(Command::Dismiss(*old), About::NotEvenFailure);
            }
            (About::NewIdentity, Ok(_)) => self.renew(),
            (About::InPlaceOf(_) | About::NewIdentity, Err(_)) => {}
            (About::Nothing | About::AddPeer | About::Send(_) | About::Answer(_), _) => {}
            (About::Conflict(..) | About::Open(_), _) => {}
            (About::ReadText(id), result) => {
                // It may have been taken away meanwhile: no news.
                self.model.texts.came(*id, result);
                return;
            }
            (About::Check, result) => self.model.check.came(result),
            (About::History, result) => self.model.history.came(result),
            (About::AnswerText(_) | About::SendText(_), result) => {
                self.text_reply(&about, result);
            }
        }
        if about == About::AddPeer {
            self.model.adding = false;
        }
        if let Err(fault) = result {
            self.model.say_fault(&fault);
        }
    }

    /// There is a key for a new identity: a node of our own begins anew with it, after it has put
    /// its things in order as when the program ends.
    fn renew(&mut self) {
        if self.own_node
            && self
                .bridge
                .ask(Command::Shutdown, About::NotEvenFailure)
                .is_ok()
        {
            self.renewing = true;
            return;
        }
        let text = "End PeerConnect where it runs and start it again: from then on it has a new \
                    identity. Devices that know this one compare the three words once more.";
        self.model.say(Tone::Ok, text);
    }
}
