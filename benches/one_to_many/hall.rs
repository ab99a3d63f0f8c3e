//! A room full of computers: namespaces on one bridge. Number 0 is the sender.

use std::net::IpAddr;
use std::process::Command;

use crate::Sizes;

pub(crate) struct Hall {
    /// The one with the bridge, and those of the computers.
    spaces: Vec<String>,
}

impl Hall {
    pub(crate) fn build(sizes: &Sizes) -> Result<Self, String> {
        let id = std::process::id();
        let name = |n: usize| format!("pcmany-{id}-{n}");
        let spaces: Vec<String> = (0..=sizes.receivers + 1).map(name).collect();
        let hall = Self { spaces };
        hall.make(sizes)?;
        Ok(hall)
    }

    fn make(&self, sizes: &Sizes) -> Result<(), String> {
        let bridge = &self.spaces[0];
        ip(&format!("netns add {bridge}"))?;
        ip(&format!("-n {bridge} link add br0 type bridge"))?;
        ip(&format!("-n {bridge} link set br0 up"))?;
        for (n, space) in self.spaces[1..].iter().enumerate() {
            ip(&format!("netns add {space}"))?;
            ip(&format!(
                "-n {space} link add v0 type veth peer name p{n} netns {bridge}"
            ))?;
            ip(&format!("-n {bridge} link set p{n} master br0"))?;
            ip(&format!("-n {bridge} link set p{n} up"))?;
            ip(&format!("-n {space} addr add {}/24 dev v0", address(n)))?;
            ip(&format!("-n {space} link set lo up"))?;
            ip(&format!("-n {space} link set v0 up"))?;
            let rate = if n == 0 { sizes.uplink } else { sizes.peers };
            if rate > 0 {
                self.shape(n, rate)?;
            }
        }
        Ok(())
    }

    fn shape(&self, n: usize, mbit: u64) -> Result<(), String> {
        let space = &self.spaces[n + 1];
        let rule = format!("root tbf rate {mbit}mbit burst 64kb latency 50ms");
        let words = format!("-n {space} qdisc replace dev v0 {rule}");
        run("tc", &words)
    }

    /// Narrows everything that a computer sends and gets.
    pub(crate) fn narrow(&self, n: usize, mbit: u64) {
        self.shape(n, mbit).unwrap();
        let rule = format!("root tbf rate {mbit}mbit burst 64kb latency 50ms");
        let words = format!("-n {} qdisc replace dev p{n} {rule}", self.spaces[0]);
        run("tc", &words).unwrap();
    }

    /// Bytes that the sender's interface has sent.
    pub(crate) fn sent(&self) -> u64 {
        let path = "/sys/class/net/v0/statistics/tx_bytes";
        let output = self.command(0, "cat").arg(path).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim().parse().unwrap()
    }

    pub(crate) fn command(&self, n: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.spaces[n + 1], program]);
        command
    }
}

impl Drop for Hall {
    fn drop(&mut self) {
        for space in &self.spaces {
            let _ = ip(&format!("netns del {space}"));
        }
    }
}

pub(crate) fn address(n: usize) -> IpAddr {
    IpAddr::from([192, 168, 77, n as u8 + 1])
}

fn ip(words: &str) -> Result<(), String> {
    run("ip", words)
}

fn run(program: &str, words: &str) -> Result<(), String> {
    let output = Command::new(program)
        .args(words.split(' '))
        .output()
        .map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
