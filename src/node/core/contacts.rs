//! Whom what is sent from here has reached.

use super::*;

impl Core {
    pub(super) async fn on_contact(&mut self, contact: Contact) {
        let (transfer, connection, typed) = match contact {
            Contact::Peer {
                transfer,
                connection,
                typed,
            } => (transfer, connection, typed),
            Contact::Original {
                transfer,
                peer,
                name,
            } => {
                self.changed = true;
                self.texts.met(transfer, Party::Legacy(peer), &name);
                if let Some(entry) = self.book.get_mut(transfer) {
                    entry.peer = Some(Party::Legacy(peer));
                    entry.peer_name.clone_from(&name);
                }
                if let Some(record) = self.outgoing.get_mut(&transfer) {
                    record.peer_name = name;
                    let record = record.clone();
                    self.keep(record).await;
                }
                return;
            }
        };
        let id = connection.id();
        self.texts.met(transfer, id.into(), connection.name());
        if let Some(entry) = self.book.get_mut(transfer) {
            entry.peer = Some(id.into());
            entry.peer_name = connection.name().to_owned();
        }
        self.records.became_familiar(id);
        self.met(&connection).await;
        if let Some(typed) = typed {
            self.records
                .write(move |store| store.pin_address(&typed, id))
                .await;
        }
        if let Some(record) = self.outgoing.get_mut(&transfer)
            && record.peer != Some(id)
        {
            record.peer = Some(id);
            record.peer_name = connection.name().to_owned();
            let record = record.clone();
            self.keep(record).await;
        }
    }

    /// Remembers a transfer of ours beyond the end of this program. One to an original cannot be
    /// continued then, because nobody knows what has arrived, but its end is told.
    pub(in crate::node) async fn keep(&self, record: OutgoingRecord) {
        self.records
            .write(move |store| store.put_outgoing(&record))
            .await;
    }

    /// A connection may have moved from a relay to a direct way, or back.
    pub(super) fn follow_paths(&mut self) {
        for (_, entry) in self.book.iter_mut() {
            let Some(Party::Key(peer)) = entry.peer else {
                continue;
            };
            let is_this = |path: &PathInfo| match path.kind {
                PathKind::Direct | PathKind::Tcp | PathKind::Relay => true,
                PathKind::Memory | PathKind::LegacyPlain => false,
            };
            if let Some(path) = entry.path.as_mut().filter(|path| is_this(path))
                && let Some(connection) = self.connector.pooled(peer)
            {
                *path = connection.path();
            }
        }
    }

    pub(super) async fn met(&mut self, connection: &PeerConnection) {
        self.changed = true;
        // Full of news from the network: what is said of it ends by itself.
        let _ = self
            .discovery
            .inputs()
            .try_send(Input::Reached(connection.id()));
        self.records
            .seen(connection.id(), connection.name(), connection.remote_addr())
            .await;
        // A caller came through ours: that says nothing about its own.
        if let Some(relay) = connection.relay().filter(|_| connection.dialled()) {
            self.records.listens_at(connection.id(), &[relay]).await;
        }
        if self.records.is_familiar(connection.id()) {
            connection.tell_addrs();
        }
        self.connected.send_modify(|times| *times += 1);
        self.tell_sessions(connection.id(), || MemberNews::Back);
    }

    /// Tells all sessions that this peer is a receiver of.
    pub(super) fn tell_sessions(&self, peer: PeerId, news: impl Fn() -> MemberNews) {
        let receives = |entry: &Entry| {
            entry.direction == Direction::Sending && entry.peer == Some(Party::Key(peer))
        };
        for (transfer, entry) in self.book.iter() {
            let session = receives(entry)
                .then(|| self.sessions.of(transfer))
                .flatten();
            if let Some(told) = session.and_then(|session| session.news.as_ref()) {
                // Full: then it is asked anew by those whom it does not feed.
                let _ = told.try_send((transfer, news()));
            }
        }
    }
}
