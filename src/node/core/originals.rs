//! Offers of originals.

use super::*;
use crate::config::{ANSWER_SOON, LegacyMode, LegacyUnanswered};
use crate::net::discovery::Who;
use crate::net::tcp::ANSWER_WITHIN;
use crate::node::legacy::{Original, OriginalTask, shown_name};
use crate::protocol::message::{DeclineReason, ReceiverMessage};
use crate::storage::store::PeerRecord;

impl Core {
    pub(super) fn on_original(&mut self, link: TcpInbound) {
        let peer = *link.peer();
        if self.has_too_many_from(peer.addr.ip()) {
            self.tasks.spawn(decline(link, DeclineReason::Busy));
            return;
        }
        let id = link.head().transfer;
        let legacy = self.legacy.as_ref();
        let claimed = legacy.and_then(|legacy| legacy.claimed_name(&peer));
        let name = shown_name(claimed.as_deref(), peer.addr);
        let terms = self.original_terms();
        let entered = self.enter_incoming(id, Party::Legacy(peer), &name, terms, None);
        let task = OriginalTask {
            incoming: entered.incoming,
            table: entered.table,
            peer_name: name,
            link,
            orders: entered.orders,
            reporter: entered.reporter,
        };
        self.tasks.spawn(task.run());
    }

    /// What becomes of open transfers with originals is written down before the node ends, because
    /// nothing of them goes on. Their tasks end by themselves once they get no more orders.
    pub(super) async fn leave_originals(&mut self) {
        let until = tokio::time::Instant::now() + LEAVE_MAX;
        while !self.book.open_with_originals().is_empty() {
            match tokio::time::timeout_at(until, self.news.1.recv()).await {
                Ok(Some((id, news))) => self.on_news(id, news).await,
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// What originals call themselves, which they often say only after they have begun to send.
    pub(super) fn name_originals(&mut self) {
        let Some(legacy) = &self.legacy else {
            return;
        };
        let texts = &mut self.texts;
        self.changed |= texts.rename_originals(|peer| legacy.claimed_name(peer));
        for id in self.book.open_with_originals() {
            let Some(entry) = self.book.get_mut(id) else {
                continue;
            };
            let claimed = entry
                .peer
                .and_then(|peer| legacy.claimed_name(&peer.legacy()?));
            if let Some(name) = claimed.filter(|name| *name != entry.peer_name) {
                entry.peer_name = name;
                self.changed = true;
            }
        }
    }

    /// Whoever waits for originals must know that they look elsewhere.
    pub(super) fn tell_moved_port(&mut self) {
        let moved = self
            .legacy
            .as_ref()
            .and_then(|l| Some((l.moved_from?, l.port())));
        if let (Some((taken, port)), Some(_)) = (moved, &self.rule) {
            self.notices = Arc::new([format!(
                "Port {taken} is used by another program. Old versions reach this one at port \
                 {port} instead."
            )]);
        }
    }

    /// Whether so many offers from there, or from anybody unproven, wait for an answer that this
    /// one shall come back later.
    fn has_too_many_from(&self, ip: IpAddr) -> bool {
        let open = || {
            let entries = self.book.iter().filter(|(_, e)| e.is_unanswered());
            entries.filter_map(|(_, e)| e.peer.and_then(|p| p.legacy()))
        };
        let from_there = open().filter(|peer| peer.addr.ip() == ip).count();
        from_there >= QUESTIONS_PER_PEER || open().count() >= QUESTIONS_MAX
    }

    /// What an offer of an original goes by: nothing that is said about peers with keys counts,
    /// and taking everything from everybody does not mean it.
    fn original_terms(&mut self) -> Terms {
        let rule = self.expected.take().or_else(|| self.rule.clone());
        let own = self.settings.folder.clone();
        let answer_timeout = match self.settings.legacy_unanswered {
            LegacyUnanswered::Hold => self.settings.answer_timeout.min(ANSWER_SOON),
            // Well before the link says yes by itself.
            LegacyUnanswered::Decline => ANSWER_WITHIN - DECLINE_EARLIER,
        };
        Terms {
            journals: self.journals(),
            folder: rule.as_ref().map_or(own, |rule| rule.folder.clone()),
            on_conflict: rule
                .as_ref()
                .map_or(self.settings.on_conflict, |rule| rule.on_conflict),
            accepted: rule.is_some_and(|rule| rule.accept_unencrypted),
            blocked: false,
            answer_timeout,
            people: self.people.clone(),
            budget: self.budget.clone(),
            // Originals know nothing of it.
            pass_on: crate::config::PassOn::Never,
        }
    }
}

/// How long the answer of an original is waited for. Originals give it at once, and nobody may
/// take longer than the 4 s after which an original gives up; the rest is for slow networks.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);
/// How long the node waits for its transfers with originals to end. They have nothing to wait for
/// but the disk.
const LEAVE_MAX: Duration = Duration::from_secs(1);
/// How long before an original must have its answer it is declined, where that is wanted.
const DECLINE_EARLIER: Duration = Duration::from_millis(700);
/// For how long a peer that was seen with a key counts as being where it was.
const KEY_COUNTS_SECONDS: u64 = 24 * 60 * 60;

impl Core {
    /// An original to send to. A computer where a peer with a key was just now gets nothing in the
    /// clear, whoever asks for it.
    pub(in crate::node) fn original(&self, address: LegacyAddress) -> Result<Original, Fault> {
        let invalid = |why: String| Err(Fault::Invalid { why });
        let legacy = match (&self.legacy, self.settings.legacy) {
            (Some(legacy), LegacyMode::On) => legacy,
            (_, LegacyMode::ReceiveOnly) => {
                return invalid(
                    "nothing is sent to old versions (legacy = \"receive-only\")".into(),
                );
            }
            (_, LegacyMode::On | LegacyMode::Off) => {
                return invalid("old versions are switched off here".into());
            }
        };
        if let Some(name) = self.name_of_key_at(address.ip) {
            return invalid(format!(
                "{} is there, which has a key: send to it by its name, encrypted",
                Shown(&name)
            ));
        }
        Ok(Original {
            address,
            at: self.requests_of(&address),
            us: legacy.us,
            transfers: legacy.transfers.clone(),
            requests: legacy.requests.clone(),
            patience: ANSWER_PATIENCE,
        })
    }

    /// The peer with a key that is or lately was at this address, unless that is this computer,
    /// where many programs may be.
    fn name_of_key_at(&self, ip: IpAddr) -> Option<String> {
        let since = unix_now().saturating_sub(KEY_COUNTS_SECONDS);
        // Only what is known here: what others say about where we are must not open this.
        let own = self.connector.own_addrs();
        let ours = ip.is_loopback() || own.borrow().iter().any(|addr| addr.ip() == ip);
        let there = |record: &PeerRecord| {
            let last = record.addrs.first().map(|addr| addr.ip().to_canonical());
            last == Some(ip) && record.last_seen >= since
        };
        let peers = self.records.peers();
        let mut known = peers.iter().filter(|(_, record)| !ours && there(record));
        if let Some((_, record)) = known.next() {
            return Some(record.name().to_owned());
        }
        // That somebody says so is enough not to send in the clear.
        let near = self.discovery.near().peers();
        let at = |addr: &SocketAddr| addr.ip().to_canonical() == ip;
        let mut near = near.iter().filter_map(|peer| match peer.who {
            Who::Key(id) if peer.addrs.iter().any(at) => Some((id, &peer.name)),
            Who::Key(_) | Who::Original(_) => None,
        });
        let (id, name) = near.next().filter(|_| !ours)?;
        Some(match name.is_empty() {
            true => id.short(),
            false => name.clone(),
        })
    }

    /// Where an original answers requests. An address without an interface may need one: then it
    /// is the one where that original was heard.
    fn requests_of(&self, address: &LegacyAddress) -> SocketAddr {
        let near = self.discovery.near().peers();
        let heard = near.iter().find_map(|peer| match peer.who {
            Who::Original(id) => Some(id.requests)
                .filter(|at| (at.ip(), at.port()) == (address.ip, address.req_port)),
            Who::Key(_) => None,
        });
        heard.unwrap_or_else(|| SocketAddr::new(address.ip, address.req_port))
    }
}

async fn decline(mut link: TcpInbound, reason: DeclineReason) {
    if let Err(error) = link.send(ReceiverMessage::Declined(reason)).await {
        tracing::debug!(%error, "a sender was gone before it was told no");
    }
    link.close(Code::Busy).await;
}
