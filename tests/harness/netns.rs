//! Another host, as far as the network goes: a namespace with one cable to this one, which can be pulled.

use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use super::needs::{not_run, succeeds};

/// A network namespace; it and its cable are gone when this is dropped.
pub struct Host {
    name: String,
    /// The end of the cable on this side.
    cable: String,
    subnet: String,
}

impl Host {
    /// Makes one, or says that it cannot be made here.
    pub fn new() -> Option<Host> {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        let name = format!("fedmsg-{id}-{number}");
        let host = Host {
            cable: format!("fm{id}-{number}"),
            // Of the block for benchmarks of networks (RFC 2544), which no network uses.
            subnet: format!("198.18.{}.{}", id % 256, u16::from(number % 32) * 8),
            name,
        };
        if host.make() {
            return Some(host);
        }
        not_run("netns", "no network namespace can be made here");
        None
    }

    fn make(&self) -> bool {
        let Host { name, cable, .. } = self;
        let (near, far) = (format!("{}/30", self.near()), format!("{}/30", self.far()));
        ip(&format!("netns add {name}"))
            && ip(&format!("link add {cable} type veth peer name cable netns {name}"))
            && ip(&format!("address add {near} dev {cable}"))
            && ip(&format!("link set {cable} up"))
            && ip(&format!("-n {name} address add {far} dev cable"))
            && ip(&format!("-n {name} link set cable up"))
            && ip(&format!("-n {name} link set lo up"))
    }

    /// This side's address.
    pub fn near(&self) -> String {
        self.address(1)
    }

    /// The other host's address.
    pub fn far(&self) -> String {
        self.address(2)
    }

    fn address(&self, more: u8) -> String {
        let (net, last) = self.subnet.rsplit_once('.').expect("four numbers");
        let last: u8 = last.parse().expect("a number");
        format!("{net}.{}", last + more)
    }

    /// The same command, on the other host.
    pub fn command(&self, command: &Command) -> Command {
        let mut there = Command::new("ip");
        there.args(["netns", "exec", &self.name]);
        there.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => there.env(name, value),
                None => there.env_remove(name),
            };
        }
        there
    }

    /// Pulls the cable: packets vanish in both directions, and no connection is told.
    pub fn cut(&self) {
        assert!(ip(&format!("-n {} link set cable down", self.name)), "the cable is pulled");
    }

    /// Puts it back.
    pub fn heal(&self) {
        assert!(ip(&format!("-n {} link set cable up", self.name)), "the cable is back");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The cable goes with one of its ends; what was never made is not there to be removed.
        ip(&format!("link del {}", self.cable));
        ip(&format!("netns del {}", self.name));
    }
}

fn ip(arguments: &str) -> bool {
    succeeds(Command::new("ip").args(arguments.split(' ')))
}
