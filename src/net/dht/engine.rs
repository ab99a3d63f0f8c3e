//! A node of the DHT for as long as somebody needs one: it asks others, answers nobody, and is
//! gone a moment later.
//!
//! The crate panics where others answer in ways that it does not expect. So whatever is asked of it
//! is a task of its own, whose end says nothing worse than that there was no answer.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use mainline::async_dht::AsyncDht;
use mainline::{DEFAULT_BOOTSTRAP_NODES, Dht, DhtBuilder};
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// How long one is used. One that ran for a quarter of an hour would begin to answer others.
const AGE_MAX: Duration = Duration::from_secs(8 * 60);
/// Nodes that are remembered to begin at the next time.
const REMEMBERED_MAX: usize = 32;
/// With so many the names that one begins at the first time are not looked up again.
const REMEMBERED_ENOUGH: usize = 8;
/// How long the name of a node may be looked up.
const LOOK_UP_MAX: Duration = Duration::from_secs(3);
/// Addresses of one name that are used.
const ADDRS_MAX: usize = 4;

/// The node of a moment.
#[derive(Debug, Default)]
pub(super) struct Engine {
    now: tokio::sync::Mutex<Weak<Running>>,
    met: Arc<Mutex<Met>>,
}

/// Who was met, and where that was begun: another directory has others.
#[derive(Debug, Default)]
struct Met {
    began_at: Vec<String>,
    nodes: Vec<String>,
}

/// A node that is asked.
#[derive(Debug)]
pub(super) struct Running {
    dht: AsyncDht,
    began_at: Vec<String>,
    since: Instant,
    is_broken: AtomicBool,
    met: Arc<Mutex<Met>>,
}

impl Running {
    /// What `ask` is answered; `None` if the node broke over it. Dropping it ends the task.
    pub(super) async fn ask<T, F>(&self, ask: impl FnOnce(AsyncDht) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let mut task = JoinSet::new();
        task.spawn(ask(self.dht.clone()));
        let answer = task.join_next().await?;
        if let Err(error) = &answer {
            self.is_broken.store(true, Ordering::Relaxed);
            tracing::warn!(%error, "the node of the DHT broke");
        }
        answer.ok()
    }

    /// Remembers whom it has met, so that the next one need not look for them. How many that are:
    /// none answered if there are none.
    pub(super) async fn remember(&self) -> usize {
        let met = self.ask(|dht| async move { dht.to_bootstrap().await });
        let mut nodes = met.await.unwrap_or_default();
        nodes.truncate(REMEMBERED_MAX);
        let number = nodes.len();
        if number > 0 {
            let began_at = self.began_at.clone();
            *lock(&self.met) = Met { began_at, nodes };
        }
        number
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
            && running.began_at == nodes
            && !running.is_broken.load(Ordering::Relaxed)
        {
            return Ok(running);
        }
        let begin_at = self.begin_at(nodes).await;
        // Waits for a thread.
        let dht = tokio::task::spawn_blocking(move || build(&begin_at, bind));
        let dht = dht.await.map_err(io::Error::other)??;
        let running = Arc::new(Running {
            dht: dht.as_async(),
            began_at: nodes.to_vec(),
            since: Instant::now(),
            is_broken: AtomicBool::new(false),
            met: self.met.clone(),
        });
        *now = Arc::downgrade(&running);
        Ok(running)
    }

    /// Addresses to begin at: of those who were met before, or of those that are named.
    async fn begin_at(&self, nodes: &[String]) -> Vec<String> {
        let met = {
            let met = lock(&self.met);
            match met.began_at == nodes {
                true => met.nodes.clone(),
                false => Vec::new(),
            }
        };
        if met.len() >= REMEMBERED_ENOUGH {
            return met;
        }
        let mut names = JoinSet::new();
        let public = DEFAULT_BOOTSTRAP_NODES.map(str::to_owned);
        let named = if nodes.is_empty() { &public } else { nodes };
        for name in named.iter().cloned() {
            names.spawn(timeout(LOOK_UP_MAX, async move {
                let found = lookup_host(name).await;
                let found = found.into_iter().flatten().filter(SocketAddr::is_ipv4);
                found.take(ADDRS_MAX).collect::<Vec<_>>()
            }));
        }
        let mut addrs = met;
        while let Some(found) = names.join_next().await {
            let found = found.into_iter().flatten().flatten();
            addrs.extend(found.map(|addr| addr.to_string()));
        }
        addrs
    }
}

fn lock(met: &Mutex<Met>) -> MutexGuard<'_, Met> {
    met.lock().unwrap_or_else(PoisonError::into_inner)
}

fn build(begin_at: &[String], bind: Option<Ipv4Addr>) -> io::Result<Dht> {
    let mut builder = DhtBuilder::default();
    builder.port(0).bootstrap(begin_at);
    if let Some(bind) = bind {
        builder.bind_address(bind);
    }
    builder.build()
}
