//! A node of the DHT for as long as somebody needs one: it asks others, answers nobody, and is
//! gone a moment later.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use mainline::async_dht::AsyncDht;
use mainline::{DEFAULT_BOOTSTRAP_NODES, Dht, DhtBuilder};
use tokio::time::Instant;

/// How long one is used. One that ran for a quarter of an hour would begin to answer others.
const AGE_MAX: Duration = Duration::from_secs(8 * 60);
/// Nodes that are remembered to begin at the next time, beside those that were named.
const REMEMBERED_MAX: usize = 32;

/// The node of a moment.
#[derive(Debug, Default)]
pub(super) struct Engine {
    now: tokio::sync::Mutex<Weak<Running>>,
    remembered: Arc<Mutex<Vec<String>>>,
}

/// A node that is asked.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) dht: AsyncDht,
    nodes: Vec<String>,
    since: Instant,
    remembered: Arc<Mutex<Vec<String>>>,
}

impl Running {
    /// Remembers whom it has met, so that the next one need not ask the same few computers.
    pub(super) async fn remember(&self) {
        let mut met = self.dht.to_bootstrap().await;
        met.truncate(REMEMBERED_MAX);
        if !met.is_empty() {
            *self
                .remembered
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = met;
        }
    }
}

impl Engine {
    /// One that begins at `nodes`, each `HOST:PORT`, or at those of the public DHT if there are
    /// none; its socket is bound to `bind`. Cancel-safe.
    pub(super) async fn run(
        &self,
        nodes: &[String],
        bind: Option<Ipv4Addr>,
    ) -> io::Result<Arc<Running>> {
        let mut now = self.now.lock().await;
        if let Some(running) = now.upgrade()
            && running.since.elapsed() < AGE_MAX
            && running.nodes == nodes
        {
            return Ok(running);
        }
        let remembered = self.remembered.lock();
        let remembered = remembered.unwrap_or_else(PoisonError::into_inner).clone();
        let named = nodes.to_vec();
        // Looks up names, and waits for a thread.
        let dht = tokio::task::spawn_blocking(move || build(&named, &remembered, bind));
        let dht = dht.await.map_err(io::Error::other)??;
        let running = Arc::new(Running {
            dht: dht.as_async(),
            nodes: nodes.to_vec(),
            since: Instant::now(),
            remembered: self.remembered.clone(),
        });
        *now = Arc::downgrade(&running);
        Ok(running)
    }
}

fn build(named: &[String], remembered: &[String], bind: Option<Ipv4Addr>) -> io::Result<Dht> {
    let mut builder = DhtBuilder::default();
    builder.port(0);
    if let Some(bind) = bind {
        builder.bind_address(bind);
    }
    match named {
        [] => builder.bootstrap(&DEFAULT_BOOTSTRAP_NODES),
        named => builder.bootstrap(named),
    };
    builder.extra_bootstrap(remembered);
    builder.build()
}
