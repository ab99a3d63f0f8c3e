//! Two nodes on loopback, each with a folder of its own, and what tests ask of them.
#![allow(
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs
)]

#[cfg(unix)]
pub mod side;
#[cfg(target_os = "linux")]
pub mod space;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use peerconnect::config::{ConflictPolicy, LegacyMode, LegacyUnanswered, PassOn, Paths, Settings};
use peerconnect::node::api::{Command, NodeHandle, Overview, Presence, ReceiveRule, Reply, Target};
use peerconnect::node::{Node, NodeOptions, ResumeAtStart};
use peerconnect::protocol::message::TransferId;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{FileQuery, FileRow, TransferSnapshot};
use tempfile::TempDir;

/// No wait of a test takes longer; far more than anything needs.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A node and its folders.
pub struct Site {
    pub dir: TempDir,
    pub node: Option<Node>,
    pub handle: NodeHandle,
    port: u16,
    options: Shape,
}

/// How a site is set up.
#[derive(Clone)]
pub struct Shape {
    pub name: &'static str,
    pub accept_all: bool,
    pub on_conflict: ConflictPolicy,
    pub answer_timeout: Duration,
    /// Where files go; `None` for a folder of the site.
    pub folder: Option<PathBuf>,
    /// Whether originals are met, and whether what they send is taken without a question.
    pub legacy: LegacyMode,
    pub accept_unencrypted: bool,
    pub legacy_unanswered: LegacyUnanswered,
    pub rate_limit: Option<u64>,
    pub pass_on: PassOn,
}

impl Shape {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            accept_all: true,
            on_conflict: ConflictPolicy::Rename,
            answer_timeout: DEADLINE,
            folder: None,
            legacy: LegacyMode::Off,
            accept_unencrypted: false,
            legacy_unanswered: LegacyUnanswered::Hold,
            rate_limit: None,
            pass_on: PassOn::Local,
        }
    }

    /// Meets originals, and takes what they send.
    pub fn legacy(name: &'static str) -> Self {
        Self {
            legacy: LegacyMode::On,
            accept_unencrypted: true,
            ..Self::new(name)
        }
    }

    pub fn asking(name: &'static str) -> Self {
        Self {
            accept_all: false,
            ..Self::new(name)
        }
    }

    pub fn start(self) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let (node, handle) = start(dir.path(), &self, 0);
        let addr = handle
            .overview()
            .borrow()
            .me
            .addrs
            .first()
            .cloned()
            .unwrap();
        let port = addr.rsplit(':').next().unwrap().parse().unwrap();
        Site {
            dir,
            node: Some(node),
            handle,
            port,
            options: self,
        }
    }
}

fn start(dir: &Path, shape: &Shape, port: u16) -> (Node, NodeHandle) {
    let folder = shape.folder.clone().unwrap_or_else(|| dir.join("in"));
    let settings = Settings {
        legacy: shape.legacy,
        legacy_port: 0,
        legacy_req_port: 0,
        legacy_unanswered: shape.legacy_unanswered,
        name: shape.name.into(),
        folder: folder.clone(),
        answer_timeout: shape.answer_timeout,
        on_conflict: shape.on_conflict,
        rate_limit: shape.rate_limit,
        pass_on: shape.pass_on,
        ..Settings::default()
    };
    let rule = (shape.accept_all || shape.accept_unencrypted).then_some(ReceiveRule {
        accept_all: shape.accept_all,
        accept_unencrypted: shape.accept_unencrypted,
        folder,
        on_conflict: shape.on_conflict,
        pass_on: true,
    });
    let node = Node::start(NodeOptions {
        paths: Paths::below(&dir.join("state")),
        settings,
        bind: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        port: Some(port),
        legacy_port: None,
        legacy_req_port: None,
        rule,
        resume: ResumeAtStart::All,
        // Tests that run at once must not find each other.
        presence: Presence::Off,
        wake: None,
        confine: false,
    });
    let node = node.unwrap();
    let handle = node.handle();
    (node, handle)
}

impl Site {
    pub fn link(&self) -> String {
        self.handle.overview().borrow().me.link.clone()
    }

    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it keeps everything.
    pub fn paths(&self) -> Paths {
        Paths::below(&self.dir.path().join("state"))
    }

    /// The folder that received files go to.
    pub fn inbox(&self) -> PathBuf {
        self.options
            .folder
            .clone()
            .unwrap_or_else(|| self.dir.path().join("in"))
    }

    /// Path of something to send; its folder exists.
    pub fn outbox(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join("out").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.outbox(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub async fn call(&self, command: Command) -> Reply {
        self.handle.call(command).await.unwrap()
    }

    pub async fn send(&self, to: &str, paths: &[&Path]) -> TransferId {
        let command = Command::SendFiles {
            to: Target::Text(to.into()),
            paths: paths.iter().map(|p| p.to_path_buf()).collect(),
            separate: false,
        };
        match self.call(command).await {
            Reply::Transfer { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the overview is as wanted.
    pub async fn until<T>(&self, mut wanted: impl FnMut(&Overview) -> Option<T>) -> T {
        let mut overview = self.handle.overview();
        let found = async {
            loop {
                let now: Arc<Overview> = overview.borrow_and_update().clone();
                if let Some(found) = wanted(&now) {
                    return found;
                }
                overview.changed().await.expect("the node ended");
            }
        };
        match tokio::time::timeout(DEADLINE, found).await {
            Ok(found) => found,
            Err(_) => panic!(
                "waited in vain: {:#?}",
                self.handle.overview().borrow().transfers
            ),
        }
    }

    /// Waits until a transfer is over.
    pub async fn ended(&self, id: TransferId) -> TransferSnapshot {
        self.until(|o| o.transfer(id).filter(|t| t.state.is_final()).cloned())
            .await
    }

    pub async fn in_state(&self, id: TransferId, state: TransferState) -> TransferSnapshot {
        self.until(|o| o.transfer(id).filter(|t| t.state == state).cloned())
            .await
    }

    pub async fn completed(&self, id: TransferId) -> TransferSnapshot {
        let end = self.ended(id).await;
        assert_eq!(end.state, TransferState::Completed, "{end:#?}");
        end
    }

    pub async fn rows(&self, transfer: TransferId) -> Vec<FileRow> {
        let query = FileQuery::Range {
            from: 0,
            count: 1024,
        };
        match self.call(Command::Files { transfer, query }).await {
            Reply::Files(rows) => rows,
            other => panic!("{other:?}"),
        }
    }

    pub async fn stop(&mut self) {
        let _ = self.handle.call(Command::Shutdown).await;
        let node = self.node.take().unwrap();
        // `join` drops its handle; ours must go first.
        let shape = self.options.clone();
        let (dead, _, _) = NodeHandle::new(self.handle.overview().borrow().as_ref().clone());
        self.handle = dead;
        tokio::task::spawn_blocking(move || node.join())
            .await
            .unwrap();
        self.options = shape;
    }

    /// Starts again after [`Site::stop`], at the same port.
    pub fn restart(&mut self) {
        let (node, handle) = start(self.dir.path(), &self.options, self.port);
        self.node = Some(node);
        self.handle = handle;
    }
}

impl Site {
    /// Starts again after [`Site::stop`], at any other port.
    pub fn restart_elsewhere(&mut self) {
        // Taken while the new one is chosen, so that it is another.
        let _old = std::net::UdpSocket::bind(("127.0.0.1", self.port));
        let (node, handle) = start(self.dir.path(), &self.options, 0);
        self.node = Some(node);
        self.handle = handle;
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.handle.post(Command::Shutdown);
        if let Some(node) = self.node.take() {
            let (dead, _, _) = NodeHandle::new(self.handle.overview().borrow().as_ref().clone());
            self.handle = dead;
            node.join();
        }
    }
}

/// Content without repetition, the same for the same seed.
pub fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut reader = blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof();
    reader.fill(&mut bytes);
    bytes
}

/// Everything below a folder as `path -> content`; folders end in `/`. Partial files are an error.
pub fn tree(root: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                found.insert(format!("{name}/"), Vec::new());
                open.push(path);
            } else if kind.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                found.insert(
                    format!("{name} ->"),
                    target.to_string_lossy().as_bytes().to_vec(),
                );
            } else if kind.is_file() {
                found.insert(name, std::fs::read(&path).unwrap());
            } else {
                // A socket, say: its being there is all there is to it.
                found.insert(name, Vec::new());
            }
        }
    }
    found
}
