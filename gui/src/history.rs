//! What has ended, as the window knows it: read from the node, and found by words.

use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, Overview, Reply, Who};
use peerconnect::peer::Party;
use peerconnect::storage::store::HistoryRecord;

use crate::app::App;
use crate::model::{About, Page};

/// Entries that are read: more than anybody scrolls through, and few enough for one answer.
pub(crate) const READ_MAX: u32 = 2_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Newest first; `None` before it was read.
    records: Option<Vec<HistoryRecord>>,
    /// What was over when it was read last.
    read: Option<(usize, usize)>,
    /// The question for it is on its way.
    waiting: bool,
    /// What is looked for, and where that is found.
    query: String,
    found: Vec<usize>,
}

impl History {
    /// The entries that are shown, newest first; `None` as long as they are not known.
    pub(crate) fn shown(&self) -> Option<&[usize]> {
        self.records.as_ref().map(|_| self.found.as_slice())
    }

    /// The entry at this place.
    pub(crate) fn record(&self, place: usize) -> Option<&HistoryRecord> {
        self.records.as_ref()?.get(place)
    }

    /// How many there are, shown or not.
    pub(crate) fn len(&self) -> usize {
        self.records.as_ref().map_or(0, Vec::len)
    }

    /// Shows what has all words of `query` in it.
    pub(crate) fn look_for(&mut self, query: &str) {
        if query != self.query {
            self.query = query.to_owned();
            self.find();
        }
    }

    fn find(&mut self) {
        let query = self.query.to_lowercase();
        let words: Vec<&str> = query.split_whitespace().collect();
        let records = self.records.iter().flatten().enumerate();
        let fits = records.filter(|(_, record)| {
            let text = text_of(record);
            words.iter().all(|word| text.contains(word))
        });
        self.found = fits.map(|(place, _)| place).collect();
    }

    /// Takes the answer of the node.
    pub(crate) fn came(&mut self, result: &Result<Reply, Fault>) {
        self.waiting = false;
        if let Ok(Reply::History(records)) = result {
            self.records = Some(records.clone());
            self.find();
        }
    }

    /// Forgets what was read, so that it is read again.
    pub(crate) fn forget(&mut self) {
        (self.records, self.read) = (None, None);
        self.find();
    }
}

/// What can be looked for in an entry.
fn text_of(record: &HistoryRecord) -> String {
    let mut text = record.peer_name.to_lowercase();
    let inside = record.text.as_ref().map(|text| text.start.as_str());
    for part in record.names.iter().map(String::as_str).chain(inside) {
        text.push('\n');
        text.push_str(&part.to_lowercase());
    }
    text
}

/// How much of this run is over: when that changes, the history does.
fn over(overview: &Overview) -> (usize, usize) {
    let transfers = overview.transfers.iter();
    let texts = overview.texts.iter();
    (
        transfers.filter(|t| t.state.is_final()).count(),
        texts.filter(|t| !t.is_question()).count(),
    )
}

impl App {
    /// Turns to a page; the history is read anew.
    pub(crate) fn turn_to(&mut self, page: Page) {
        if page == Page::History {
            self.model.history.read = None;
        }
        if page == Page::Check && !self.model.check.running {
            self.check(None);
        }
        if page == Page::Settings {
            self.look_at_entries();
        }
        if page == Page::About {
            self.model.log = self.outside.log.lines();
        }
        self.model.page = page;
    }

    /// Asks for the history while it is looked at and not known as it is.
    pub(crate) fn read_history(&mut self) {
        let now = over(&self.model.overview);
        let history = &mut self.model.history;
        if self.model.page != Page::History || history.waiting || history.read == Some(now) {
            return;
        }
        (history.waiting, history.read) = (true, Some(now));
        self.ask(Command::History { count: READ_MAX }, About::History);
    }

    /// Stages what was sent then, for whom it was sent to.
    pub(crate) fn send_from_history(&mut self, place: usize) {
        let Some(record) = self.model.history.record(place) else {
            return;
        };
        let (sources, peer) = (record.sources.clone(), record.peer);
        self.look(sources);
        if let Some(Party::Key(id)) = peer
            && self.model.device(Who::Key(id)).is_some()
        {
            self.model.chosen.insert(Who::Key(id));
        }
        self.model.page = Page::Transfers;
    }
}
