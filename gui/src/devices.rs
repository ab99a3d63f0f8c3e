//! Which devices there are: who is near, who was seen before, and who calls itself like another.
//! Worked out once for each picture of the node, because hundreds may be announced and each frame
//! asks.

use std::collections::{BTreeMap, BTreeSet};

use peerconnect::node::api::{GroupRecord, Nearby, Overview, PeerInfo, Who};
use peerconnect::peer::PeerId;

use crate::model::Model;

/// Somebody to send to: near, known, or both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Device<'a> {
    pub(crate) who: Who,
    pub(crate) name: &'a str,
    pub(crate) near: Option<&'a Nearby>,
    pub(crate) known: Option<&'a PeerInfo>,
}

impl Device<'_> {
    /// Whether it is connected now.
    pub(crate) fn is_connected(&self) -> bool {
        self.known.is_some_and(|peer| peer.connected)
    }
}

/// What is worked out of a picture.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    /// For each device nearby its place among those that are known.
    known: Vec<Option<usize>>,
    /// Places of those that are known and not nearby.
    elsewhere: Vec<usize>,
    /// Devices that call themselves like another one.
    twins: BTreeSet<Who>,
}

impl Devices {
    pub(crate) fn of(overview: &Overview) -> Self {
        let places = overview.peers.iter().enumerate();
        let places: BTreeMap<Who, usize> = places
            .map(|(place, peer)| (Who::Key(peer.id), place))
            .collect();
        let near: BTreeSet<Who> = overview.nearby.iter().map(|near| near.who).collect();
        let known = overview.nearby.iter();
        let known = known.map(|near| places.get(&near.who).copied());
        let elsewhere = overview.peers.iter().enumerate();
        let elsewhere = elsewhere.filter(|(_, peer)| !near.contains(&Who::Key(peer.id)));
        let mut devices = Self {
            known: known.collect(),
            elsewhere: elsewhere.map(|(place, _)| place).collect(),
            twins: BTreeSet::new(),
        };
        devices.twins = devices.find_twins(overview);
        devices
    }

    fn find_twins(&self, overview: &Overview) -> BTreeSet<Who> {
        let mut names: BTreeMap<String, Vec<Who>> = BTreeMap::new();
        for device in self.near(overview).chain(self.elsewhere(overview)) {
            let name = device.name.to_lowercase();
            names.entry(name).or_default().push(device.who);
        }
        let twins = names.into_values().filter(|all| all.len() > 1);
        twins.flatten().collect()
    }

    fn near<'a>(&'a self, overview: &'a Overview) -> impl Iterator<Item = Device<'a>> {
        let near = overview.nearby.iter().zip(&self.known);
        near.map(|(near, known)| Device {
            who: near.who,
            name: &near.name,
            near: Some(near),
            known: known.and_then(|place| overview.peers.get(place)),
        })
    }

    fn elsewhere<'a>(&'a self, overview: &'a Overview) -> impl Iterator<Item = Device<'a>> {
        let peers = self.elsewhere.iter();
        let peers = peers.filter_map(|place| overview.peers.get(*place));
        peers.map(|peer| Device {
            who: Who::Key(peer.id),
            name: peer.record.name(),
            near: None,
            known: Some(peer),
        })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.known.len() + self.elsewhere.len()
    }
}

impl Model {
    /// Devices in this network, those we know first.
    pub(crate) fn near(&self) -> impl Iterator<Item = Device<'_>> {
        self.devices.near(&self.overview)
    }

    /// Devices that we know and that are not heard in this network, last seen first.
    pub(crate) fn elsewhere(&self) -> impl Iterator<Item = Device<'_>> {
        self.devices.elsewhere(&self.overview)
    }

    /// Whether another device calls itself the same: then only key or address tell them apart.
    pub(crate) fn is_twin(&self, who: Who) -> bool {
        self.devices.twins.contains(&who)
    }

    /// Devices that are chosen, in the order of the list.
    pub(crate) fn chosen_devices(&self) -> impl Iterator<Item = Device<'_>> {
        let all = self.near().chain(self.elsewhere());
        all.filter(|device| self.chosen.contains(&device.who))
    }

    /// Whether all devices of a group are chosen.
    pub(crate) fn is_group_chosen(&self, group: &GroupRecord) -> bool {
        let chosen = |id: &PeerId| self.chosen.contains(&Who::Key(*id));
        !group.members.is_empty() && group.members.iter().all(chosen)
    }

    /// This device.
    pub(crate) fn device(&self, who: Who) -> Option<Device<'_>> {
        self.near()
            .chain(self.elsewhere())
            .find(|device| device.who == who)
    }

    /// Whether any device is connected now.
    pub(crate) fn is_anybody_connected(&self) -> bool {
        self.overview.peers.iter().any(|peer| peer.connected)
    }
}
