//! Two network namespaces with a cable between them, for tests that change networks.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Both ends of a cable, each in a namespace of its own; gone with this value. The interface is
/// called `v0` at each end.
pub struct Cable {
    spaces: [String; 2],
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Cable {
    /// `None` where this cannot be had: not root, not Linux enough. With `PEERCONNECT_TEST_ALL=1`
    /// that is a failure.
    pub fn lay() -> Option<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |end| format!("pc{}-{number}-{end}", std::process::id());
        // From here on what was made is unmade.
        let cable = Self {
            spaces: [name("a"), name("b")],
        };
        match cable.make() {
            Ok(()) => Some(cable),
            Err(error) => {
                let must = std::env::var_os("PEERCONNECT_TEST_ALL").is_some();
                assert!(!must, "no network namespaces: {error}");
                eprintln!("skipped, no network namespaces: {error}");
                None
            }
        }
    }

    fn make(&self) -> Result<(), String> {
        let [a, b] = &self.spaces;
        for space in [a, b] {
            run("ip", &["netns", "add", space])?;
        }
        let link = "link add v0 type veth peer name v0 netns";
        let words: Vec<&str> = ["-n", a].into_iter().chain(link.split(' ')).collect();
        run("ip", &[&words[..], &[b]].concat())?;
        for space in [a, b] {
            // Addresses are what the tests say.
            run(
                "ip",
                &["-n", space, "link", "set", "v0", "addrgenmode", "none"],
            )?;
            run("ip", &["-n", space, "link", "set", "lo", "up"])?;
            run("ip", &["-n", space, "link", "set", "v0", "up"])?;
        }
        run("nft", &["--version"])
    }

    /// Changes something at an end: the arguments of `ip`.
    pub fn ip(&self, end: usize, args: &str) {
        let words: Vec<&str> = args.split(' ').collect();
        run("ip", &[&["-n", &self.spaces[end]], &words[..]].concat()).unwrap();
    }

    /// Drops what comes to an end, as an expression of `nft` says.
    pub fn drop_incoming(&self, end: usize, what: &str) {
        let rules = format!(
            "table inet cut {{ chain in {{ type filter hook input priority 0; {what} drop; }} ; }}"
        );
        self.nft(end, &["add", "table", "inet", "cut"]);
        self.nft(end, &[&rules]);
    }

    /// Lets everything in again.
    pub fn let_in(&self, end: usize) {
        self.nft(end, &["delete", "table", "inet", "cut"]);
    }

    fn nft(&self, end: usize, args: &[&str]) {
        let space = ["netns", "exec", &self.spaces[end], "nft"];
        run("ip", &[&space, args].concat()).unwrap();
    }

    /// The words before a command that make it run at an end.
    pub fn at(&self, end: usize) -> Vec<String> {
        let words = ["ip", "netns", "exec", &self.spaces[end]];
        words.map(String::from).into()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for space in &self.spaces {
            let _ = run("ip", &["netns", "del", space]);
        }
    }
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
