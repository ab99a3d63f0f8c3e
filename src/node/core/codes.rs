//! One-time codes: those that are made here, and those that were typed.

use super::*;
use crate::fault::CodeTrouble;
use crate::net::code_link::QuicCode;
use crate::node::api::{CodeCommand, CodeState, Reply, Taking, Target};
use crate::node::codes::{Agreements, CodeNews, CodeReach, Guessed, Redeem, hear, name};
use crate::node::commands::{Answer, Replied, not_found, random_id};
use crate::node::sending::check_paths;
use crate::protocol::codes::TypedCode;

impl Core {
    pub(in crate::node) fn on_code_command(&mut self, command: CodeCommand, answer: Answer) {
        let reply = match command {
            CodeCommand::Send { paths } => self.make_code(paths),
            CodeCommand::Receive { code, taking } => return self.redeem(&code, taking, answer),
            CodeCommand::Drop(id) => self.drop_code(id),
        };
        let _ = answer.send(reply);
    }

    fn make_code(&mut self, paths: Vec<PathBuf>) -> Replied {
        check_paths(&paths)?;
        let near = self.discovery.near().clone();
        if self.connector.relays().is_empty() && !near.has_codes() {
            return Err(Fault::Code {
                trouble: CodeTrouble::NoWay,
            });
        }
        let id = random_id()?;
        self.codes.begin(id, paths)?;
        let (connector, news) = (self.connector.clone(), self.codes.reporter());
        let used = self.codes.numbers();
        self.tasks.spawn(async move {
            let result = name(&connector, &near, &used).await;
            let _ = news.send(CodeNews::Numbered { id, result }).await;
        });
        Ok(Reply::Transfer {
            id,
            attached: false,
        })
    }

    /// Tells those nearby which codes wait here, if that changed.
    pub(super) fn tell_codes(&mut self) {
        self.discovery.say_codes(self.codes.numbers());
    }

    fn drop_code(&mut self, id: TransferId) -> Replied {
        if self.codes.take_back(id) || self.codes.withdraw(id) {
            return Ok(Reply::Done);
        }
        if !self.codes.waits(id) {
            return Err(not_found("such code"));
        }
        let number = self.codes.end(id, CodeState::Ended(Fault::Cancelled));
        self.release(number);
        Ok(Reply::Done)
    }

    fn release(&mut self, number: impl IntoIterator<Item = u16>) {
        for number in number {
            let connector = self.connector.clone();
            self.tasks
                .spawn(async move { connector.release(number).await });
        }
    }

    fn redeem(&mut self, typed: &str, taking: Taking, answer: Answer) {
        let typed: Result<TypedCode, _> = typed.parse();
        let typed = typed.map_err(|error| Fault::Invalid {
            why: format!("{error}"),
        });
        let checked = typed.and_then(|TypedCode { link, code }| {
            let is_ours = link.as_ref().is_some_and(|link| link.id == self.me);
            if is_ours || self.codes.has_made(&code) {
                return Err(Fault::Invalid {
                    why: "this code was made on this computer; it is for another one".into(),
                });
            }
            if let Taking::ByRule(rule) = &taking {
                self.check_folder(&rule.folder)?;
            }
            Ok((link, code))
        });
        let (made_at, code) = match checked {
            Ok(checked) => checked,
            Err(fault) => {
                let _ = answer.send(Err(fault));
                return;
            }
        };
        let redeem = Redeem {
            code,
            made_at,
            taking,
            us: self.me,
            connector: self.connector.clone(),
            near: self.discovery.near().clone(),
            news: self.codes.reporter(),
            agreements: Agreements::default(),
        };
        let agreements = redeem.agreements.clone();
        let news = self.codes.reporter();
        // Takes seconds: the node goes on meanwhile. Nothing is taken for somebody who has gone.
        self.tasks.spawn(async move {
            let mut answer = answer;
            let redeemed = tokio::select! {
                redeemed = redeem.run() => Some(redeemed),
                () = answer.closed() => None,
            };
            let told = match &redeemed {
                Some(Ok(Reply::Agreed { transfer, .. })) => Some(*transfer),
                Some(_) | None => None,
            };
            let is_told = redeemed.is_some_and(|redeemed| answer.send(redeemed).is_ok());
            for transfer in agreements.take_others(told.filter(|_| is_told)) {
                let _ = news.send(CodeNews::Withdrawn(transfer)).await;
            }
        });
    }

    /// Somebody there has typed a code.
    pub(super) fn on_code(&mut self, from: &PeerConnection, link: QuicCode) {
        let Some(found) = self.codes.with_number(link.number()) else {
            self.tasks.spawn(link.deny());
            return;
        };
        let (us, from) = (self.me, from.id());
        if !self.codes.guessers.listens_to(from) {
            self.tasks.spawn(link.refuse(Code::Busy));
            return;
        }
        let (id, news) = (found.0, self.codes.reporter());
        let task = self.tasks.spawn(async move {
            let admitted = hear(link, found, (us, from), &news).await.then_some(id);
            let _ = news.send(CodeNews::Heard { from, admitted }).await;
        });
        self.codes.guessers.is_looked_at_by(from, task);
    }

    pub(super) async fn on_code_news(&mut self, news: CodeNews) {
        self.changed = true;
        match news {
            CodeNews::Numbered { id, result } => self.on_number(id, result),
            CodeNews::Guessed {
                from,
                id,
                code,
                right,
                decided,
            } => {
                if decided.is_closed() || !self.codes.guessers.has_guessed(from) {
                    // Nothing was answered, so nothing was learned.
                    return;
                }
                let guessed = self.codes.guessed(id, &code, right);
                tracing::info!(?guessed, "somebody typed a code");
                let _ = decided.send(matches!(guessed, Guessed::Right { .. }));
                self.release(match guessed {
                    Guessed::Right { number } => Some(number),
                    Guessed::Wrong { freed } => freed,
                    Guessed::Stale => None,
                });
            }
            CodeNews::Heard { from, admitted } => {
                self.codes.guessers.heard(from);
                if let Some(id) = admitted {
                    self.begin_used(id, from).await;
                }
            }
            CodeNews::Agreed {
                peer,
                transfer,
                taking,
                noted,
            } => {
                let agreed = match taking {
                    // It is asked about like any offer, also whether that is the right peer.
                    Taking::Asked => true,
                    Taking::AsSet | Taking::ByRule(_) => {
                        self.codes.proved(peer);
                        let rule = match taking {
                            Taking::ByRule(rule) => Some(rule),
                            Taking::AsSet | Taking::Asked => None,
                        };
                        self.codes.agree(peer, transfer, rule)
                    }
                };
                self.records.became_familiar(peer);
                if noted.send(agreed).is_err() {
                    self.codes.withdraw(transfer);
                }
            }
            CodeNews::Withdrawn(transfer) => {
                self.codes.withdraw(transfer);
            }
            CodeNews::Late => {
                let numbers = self.codes.end_late();
                self.release(numbers);
            }
        }
    }

    fn on_number(&mut self, id: TransferId, result: Result<(u16, CodeReach), Fault>) {
        let numbered = result.and_then(|(number, reach)| {
            let is_wanted = self.codes.numbered(id, number, reach)?;
            Ok((!is_wanted).then_some(number))
        });
        let freed = match numbered {
            Ok(freed) => freed,
            Err(fault) => self.codes.end(id, CodeState::Ended(fault)),
        };
        self.release(freed);
    }

    /// A code was right: what it was made for goes to whoever typed it.
    async fn begin_used(&mut self, id: TransferId, peer: PeerId) {
        let Some(paths) = self.codes.take_used(id) else {
            return;
        };
        self.codes.proved(peer);
        match self.addressed(Target::Peer(peer)).await {
            Ok(recipient) => self.begin(id, recipient, paths).await,
            Err(fault) => tracing::warn!(%fault, "what a code was for cannot be sent"),
        }
    }
}
