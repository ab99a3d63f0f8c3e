//! What the contestants send over.

use std::net::IpAddr;
use std::process::Command;

/// A way between two ends on this machine.
pub(crate) struct Wire {
    name: &'static str,
    /// Network namespaces of sender and receiver.
    spaces: Option<[String; 2]>,
    receiver: IpAddr,
}

impl Wire {
    /// Through the loopback interface.
    pub(crate) fn loopback() -> Self {
        Self {
            name: "loopback",
            spaces: None,
            receiver: "127.0.0.1".parse().unwrap(),
        }
    }

    /// Through a veth pair with MTU 1500 between two network namespaces. Needs root and iproute2.
    pub(crate) fn veth() -> Result<Self, String> {
        let id = std::process::id();
        let [a, b] = [format!("pcbench-a-{id}"), format!("pcbench-b-{id}")];
        let wire = Self {
            name: "veth, MTU 1500",
            spaces: Some([a.clone(), b.clone()]),
            receiver: "192.0.2.2".parse().unwrap(),
        };
        ip(&["netns", "add", &a])?;
        ip(&["netns", "add", &b])?;
        ip(&[
            "-n", &a, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", &b,
        ])?;
        for (space, addr) in [(&a, "192.0.2.1/24"), (&b, "192.0.2.2/24")] {
            ip(&["-n", space, "addr", "add", addr, "dev", "v0"])?;
            ip(&["-n", space, "link", "set", "v0", "up"])?;
            ip(&["-n", space, "link", "set", "lo", "up"])?;
        }
        Ok(wire)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn receiver(&self) -> IpAddr {
        self.receiver
    }

    pub(crate) fn is_loopback(&self) -> bool {
        self.spaces.is_none()
    }

    /// A command that runs at the sender's (0) or the receiver's (1) end.
    pub(crate) fn command(&self, end: usize, program: &str) -> Command {
        match &self.spaces {
            None => Command::new(program),
            Some(spaces) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &spaces[end], program]);
                command
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for space in self.spaces.iter().flatten() {
            let _ = ip(&["netns", "del", space]);
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip")
        .args(args)
        .output()
        .map_err(|e| e.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
