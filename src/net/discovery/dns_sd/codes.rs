//! The numbers of one-time codes in DNS-SD: a service of its own for each that waits here, and a
//! search for those of others while somebody has typed one.

use std::collections::BTreeSet;

use mdns_sd::{Receiver, ServiceDaemon, ServiceEvent, ServiceInfo};

use super::{DnsOptions, Heard, addrs, announced};
use crate::net::discovery::record;

/// What a daemon was told of codes. Whatever it could not take is told again with the next
/// [`Self::tell`].
#[derive(Default)]
pub(super) struct ToldCodes {
    waiting: BTreeSet<u16>,
    events: Option<Receiver<ServiceEvent>>,
}

impl ToldCodes {
    /// Tells the daemon what `options` say by now.
    pub(super) fn tell(&mut self, daemon: &ServiceDaemon, options: &DnsOptions) {
        let (old, new) = (self.waiting.clone(), &options.codes);
        for number in old.difference(new) {
            let name = record::code_full_name(*number, options.me);
            if daemon.unregister(&name).is_ok() {
                self.waiting.remove(number);
            }
        }
        for number in new.difference(&old) {
            match service(*number, options).and_then(|own| daemon.register(own)) {
                Ok(()) => drop(self.waiting.insert(*number)),
                Err(error) => tracing::debug!(%error, "a code was not told nearby"),
            }
        }
        match (options.seeks_codes, &self.events) {
            (true, None) => self.events = daemon.browse(record::CODE_SERVICE).ok(),
            (false, Some(_)) if daemon.stop_browse(record::CODE_SERVICE).is_ok() => {
                self.events = None;
            }
            _ => {}
        }
    }

    /// Asks the network anew, and hears again what is known.
    pub(super) fn ask_again(&mut self) {
        self.events = None;
    }

    /// What is heard next of codes elsewhere. Cancel-safe; for ever if none are looked for.
    pub(super) async fn next(&mut self) -> Heard {
        while let Some(events) = &self.events {
            match events.recv_async().await {
                Ok(event) => {
                    if let Some(heard) = heard(&event) {
                        return heard;
                    }
                }
                // More came than could be taken in.
                Err(_) => self.events = None,
            }
        }
        std::future::pending().await
    }
}

fn service(number: u16, options: &DnsOptions) -> mdns_sd::Result<ServiceInfo> {
    let instance = record::code_instance(number, options.me);
    // Of its own: it says goodbye alone.
    let host = record::code_host(number, options.me);
    let keys = record::code_properties();
    announced(record::CODE_SERVICE, &instance, &host, options.port, &keys)
}

fn heard(event: &ServiceEvent) -> Option<Heard> {
    match event {
        ServiceEvent::ServiceResolved(service) => {
            let text = |key: &str| service.get_property_val(key).flatten();
            let code = record::near_code(&service.fullname, text, addrs(service));
            code.map(Heard::Code)
        }
        ServiceEvent::ServiceRemoved(_, name) => {
            record::code_of(name).map(|(number, peer)| Heard::CodeGone(number, peer))
        }
        ServiceEvent::ServiceFound(..)
        | ServiceEvent::SearchStarted(_)
        | ServiceEvent::SearchStopped(_)
        | _ => None,
    }
}
