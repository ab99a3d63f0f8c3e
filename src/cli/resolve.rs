//! What people type for a transfer, a peer or a file, and what is meant by it.

use peerconnect::fault::Fault;
use peerconnect::node::api::{
    Command, NodeHandle, Overview, PeerInfo, Reply, SessionSnapshot, TextSnapshot,
};
use peerconnect::node::names::ID_START_MIN;
use peerconnect::peer::PeerId;
use peerconnect::protocol::message::{FileIndex, TransferId};
use peerconnect::transfer::status::{FileQuery, ROWS_MAX, RowKind, TransferSnapshot};

/// What an id stands for: a transfer, or all those to several receivers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Whole<'a> {
    One(&'a TransferSnapshot),
    Many(&'a SessionSnapshot),
}

impl<'a> Whole<'a> {
    pub(crate) fn id(&self) -> TransferId {
        match self {
            Self::One(t) => t.id,
            Self::Many(session) => session.id,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::One(t) => t.state.is_final(),
            Self::Many(session) => session.is_over(),
        }
    }

    /// The transfers that an order to it is for: of several those that are not over.
    pub(crate) fn transfers(&self, picture: &'a Overview) -> Vec<TransferId> {
        match self {
            Self::One(t) => vec![t.id],
            Self::Many(session) => {
                let all = picture.transfers_of(session);
                all.filter(|t| !t.state.is_final()).map(|t| t.id).collect()
            }
        }
    }
}

/// The transfer, or session, whose id starts with these digits.
pub(crate) fn whole<'a>(picture: &'a Overview, id: &str) -> Result<Whole<'a>, Fault> {
    let digits = id.to_ascii_lowercase();
    let fits = |id: TransferId| !digits.is_empty() && id.to_string().starts_with(&digits);
    let transfers = picture.transfers.iter().map(Whole::One);
    let sessions = picture.sessions.iter().map(Whole::Many);
    let mut found = transfers.chain(sessions).filter(|whole| fits(whole.id()));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Fault::NotFound {
            what: format!("transfer {id}"),
        }),
        (Some(one), Some(other)) => Err(Fault::Invalid {
            why: format!(
                "{id} could be {} or {}: type more of it",
                one.id().to_string().get(..8).unwrap_or_default(),
                other.id().to_string().get(..8).unwrap_or_default()
            ),
        }),
    }
}

/// The only text that is not there yet and whose id starts with these digits. An id of a transfer
/// comes first.
pub(crate) fn open_text<'a>(picture: &'a Overview, id: &str) -> Option<&'a TextSnapshot> {
    if !matches!(whole(picture, id), Err(Fault::NotFound { .. })) || id.is_empty() {
        return None;
    }
    let digits = id.to_ascii_lowercase();
    let fits = |t: &&TextSnapshot| !t.state.is_final() && t.id.to_string().starts_with(&digits);
    let mut found = picture.texts.iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(only), None) => Some(only),
        (None | Some(_), _) => None,
    }
}

/// The transfer whose id starts with these digits.
pub(crate) fn transfer<'a>(picture: &'a Overview, id: &str) -> Result<&'a TransferSnapshot, Fault> {
    match whole(picture, id)? {
        Whole::One(t) => Ok(t),
        Whole::Many(_) => Err(Fault::Invalid {
            why: format!("{id} goes to several receivers: use the id of one of them"),
        }),
    }
}

/// The known peer with this name, this id, or an id that starts like this.
pub(crate) fn peer<'a>(picture: &'a Overview, text: &str) -> Result<&'a PeerInfo, Fault> {
    let same = |name: &str| name.to_lowercase() == text.to_lowercase();
    let by_id = |p: &&PeerInfo| p.id.to_string() == text.to_ascii_lowercase();
    let by_own_name = |p: &&PeerInfo| p.record.own_name.as_deref().is_some_and(same);
    let by_name = |p: &&PeerInfo| same(p.record.name());
    let by_start = |p: &&PeerInfo| {
        text.len() >= ID_START_MIN && p.id.to_string().starts_with(&text.to_ascii_lowercase())
    };
    // Names that the person gave come before those that peers gave themselves.
    let ways: [&dyn Fn(&&PeerInfo) -> bool; 4] = [&by_id, &by_own_name, &by_name, &by_start];
    for way in ways {
        let mut found = picture.peers.iter().filter(way);
        match (found.next(), found.next()) {
            (Some(only), None) => return Ok(only),
            (Some(one), Some(other)) => {
                let (one, other) = (one.id.short(), other.id.short());
                return Err(Fault::Invalid {
                    why: format!("\"{text}\" could be {one} or {other}: use its id"),
                });
            }
            (None, _) => {}
        }
    }
    Err(Fault::NotFound {
        what: format!("known peer \"{text}\""),
    })
}

/// The key of a peer: a known one's, or any that is typed in full.
pub(crate) fn peer_id(picture: &Overview, text: &str) -> Result<PeerId, Fault> {
    match text.parse() {
        Ok(id) => Ok(id),
        Err(_) => peer(picture, text).map(|peer| peer.id),
    }
}

/// The files of a transfer whose path or name fits a pattern. An error if there are none.
pub(crate) async fn files(
    node: &NodeHandle,
    transfer: TransferId,
    pattern: &str,
) -> Result<Vec<FileIndex>, Fault> {
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        let query = FileQuery::Range {
            from,
            count: ROWS_MAX,
        };
        let reply = node.call(Command::Files { transfer, query }).await?;
        let Reply::Files(rows) = reply else {
            return Err(super::send::unexpected(&reply));
        };
        if rows.is_empty() {
            break;
        }
        from += rows.len() as u32;
        let fits = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or(path);
            glob(pattern, path) || glob(pattern, name)
        };
        let files = rows.iter().filter(|row| row.kind == RowKind::File);
        found.extend(files.filter(|row| fits(&row.path)).map(|row| row.index));
    }
    if found.is_empty() {
        return Err(Fault::NotFound {
            what: format!("file that fits \"{pattern}\" in this transfer"),
        });
    }
    Ok(found)
}

/// Whether `text` fits `pattern`: `*` is any run of characters, `?` any one.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where to go on when it does not fit: behind the last `*`, one character further.
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, t + 1));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == text.get(t) => {
                p += 1;
                t += 1;
            }
            Some(_) | None => match retry {
                Some((behind, next)) => {
                    (p, t) = (behind, next);
                    retry = Some((behind, next + 1));
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::cli::testing::{overview, session, snapshot};
    use peerconnect::storage::store::{Accept, PeerRecord};
    use peerconnect::transfer::state::TransferState;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, text) in [
            ("*.mp4", "a.mp4"),
            ("*", ""),
            ("a?c", "aéc"),
            ("*a*b*", "xxayybzz"),
            ("a*a*a", "aXaaYa"),
            ("film", "film"),
        ] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("*.mp4", "a.mp3"), ("?", ""), ("a", "ab"), ("", "a")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn transfers_are_found_by_their_first_digits_if_those_are_unique() {
        let mut ab = snapshot(TransferState::Paused);
        ab.id = TransferId([0xab; 16]);
        let mut ac = ab.clone();
        ac.id.0[0] = 0xac;
        let picture = overview(vec![ab, ac]);
        assert_eq!(transfer(&picture, "AB").unwrap().id, TransferId([0xab; 16]));
        assert_eq!(transfer(&picture, "a").unwrap_err().slug(), "invalid");
        assert_eq!(transfer(&picture, "f").unwrap_err().slug(), "not-found");
        assert_eq!(transfer(&picture, "").unwrap_err().slug(), "not-found");
    }

    #[test]
    fn the_id_of_a_session_stands_for_all_its_transfers_that_are_not_over() {
        let mut open = snapshot(TransferState::Paused);
        open.id = TransferId([0xab; 16]);
        let mut done = snapshot(TransferState::Completed);
        done.id = TransferId([0xac; 16]);
        let mut picture = overview(vec![done.clone(), open.clone()]);
        picture.sessions = vec![session(&picture.transfers)].into();
        let many = whole(&picture, "5e").unwrap();
        assert!(!many.is_over());
        assert_eq!(many.transfers(&picture), [open.id]);
        assert_eq!(transfer(&picture, "5e").unwrap_err().slug(), "invalid");
        // An order to one that is over is refused by the node, in words.
        let one = whole(&picture, "ac").unwrap();
        assert!(one.is_over());
        assert_eq!(one.transfers(&picture), [done.id]);
    }

    #[test]
    fn own_names_of_peers_win_over_claimed_ones() {
        let peer_named = |n: u8, own: Option<&str>, claimed: &str| PeerInfo {
            path: None,
            id: PeerId::from_bytes([n; 32]),
            record: PeerRecord {
                claimed_name: claimed.into(),
                own_name: own.map(str::to_owned),
                trusted: false,
                accept: Accept::Ask,
                addrs: vec![],
                first_seen: 0,
                last_seen: 0,
            },
            connected: false,
            folder: None,
            words: None,
        };
        let mut picture = overview(vec![]);
        picture.peers = vec![
            peer_named(1, Some("Anna"), "laptop"),
            peer_named(2, None, "anna"),
            peer_named(3, None, "twin"),
            peer_named(4, None, "twin"),
        ]
        .into();
        let id = |n| PeerId::from_bytes([n; 32]);
        assert_eq!(peer(&picture, "anna").unwrap().id, id(1));
        assert_eq!(peer(&picture, "twin").unwrap_err().slug(), "invalid");
        assert_eq!(peer(&picture, "nobody").unwrap_err().slug(), "not-found");
        assert_eq!(peer(&picture, &id(3).short()).unwrap().id, id(3));
        let stranger = id(9);
        assert_eq!(peer_id(&picture, &stranger.to_string()), Ok(stranger));
    }
}
