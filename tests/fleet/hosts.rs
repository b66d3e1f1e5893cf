//! The machines of a fleet: each has its own copy of the configuration, which is brought to it at its own time, its own
//! disk and an address of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Bus, Program, address_of, atomically, command, succeeds};

/// Some files of the configuration, in this order: their new text, or that they are taken away.
#[derive(Clone, Debug, Default)]
pub struct Change(Vec<(String, Option<String>)>);

impl Change {
    /// A file with this text.
    pub fn file(name: &str, text: impl Into<String>) -> Change {
        Change(vec![(name.into(), Some(text.into()))])
    }

    /// And then the files of another change.
    pub fn and(mut self, other: Change) -> Change {
        self.0.extend(other.0);
        self
    }

    /// And then another one is taken away.
    pub fn without(mut self, name: &str) -> Change {
        self.0.push((name.into(), None));
        self
    }

    /// The files as they are to be.
    pub fn apply(&self, folder: &Path) {
        for (name, text) in &self.0 {
            let path = folder.join(name);
            match text {
                Some(text) => atomically(&path, text),
                None => fs::remove_file(path).expect("it was there"),
            }
        }
    }
}

/// One machine.
pub struct Host {
    pub name: &'static str,
    number: u8,
    root: PathBuf,
}

impl Host {
    /// A machine with the configuration as it is now, without keys, and with an empty disk.
    pub fn new(bus: &Bus, name: &'static str, number: u8) -> Host {
        let host = Host { name, number, root: bus.path(name) };
        fs::create_dir_all(&host.root).expect("a folder");
        bus.copy(&format!("{name}/etc"));
        let private = host.etc().join("private");
        fs::remove_dir_all(&private).expect("removed");
        fs::create_dir(&private).expect("a folder");
        fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).expect("chmod");
        host.keeps_state_in(&host.state());
        host
    }

    pub fn etc(&self) -> PathBuf {
        self.root.join("etc")
    }

    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Its disk is there, or somewhere where nothing can be written.
    pub fn keeps_state_in(&self, state: &Path) {
        let text = format!("[bus]\nstate_dir = {state:?}\n");
        atomically(&self.etc().join("90-host.toml"), &text);
    }

    /// Whether this file of the configuration has come here.
    pub fn has(&self, file: &str) -> bool {
        self.etc().join(file).exists()
    }

    /// Puts this secret key in place, perhaps of another one.
    pub fn hold(&self, secret: &Path) {
        let name = secret.file_name().expect("a file");
        let (beside, to) = (self.root.join("key"), self.etc().join("private").join(name));
        fs::copy(secret, &beside).expect("copied");
        fs::rename(beside, to).expect("renamed");
    }

    /// The endpoint entry of an identity here: so many slots with `publish` and `replay`, and what else it says.
    pub fn entry(&self, identity: &str, slots: usize, rest: &str) -> Change {
        let mut lines = format!("[endpoints.{identity:?}]\n");
        for key in ["publish", "replay"] {
            let addresses: Vec<String> = (0..slots).map(|_| self.address()).collect();
            lines += &format!("{key} = {addresses:?}\n");
        }
        Change::file(&format!("20-{identity}.toml"), lines + rest)
    }

    /// A new address here.
    pub fn address(&self) -> String {
        address_of(self.number)
    }

    /// A program with the configuration of this machine.
    pub fn program(&self, name: &str) -> Command {
        let mut command = command(name);
        command.arg("--config-dir").arg(self.etc());
        command
    }

    /// `fedmsg` with these words; what it printed. It has to succeed.
    pub fn run(&self, words: &[&str]) -> Vec<String> {
        let mut fedmsg = self.program("fedmsg");
        fedmsg.args(words);
        let (code, out, errors) = Program::start(fedmsg).end();
        assert_eq!(code, 0, "{}: {words:?}: {out:?} {errors:?}", self.name);
        out
    }

    /// Signatures, chain and checksums of what is kept here must all hold.
    pub fn check_journals(&self) {
        self.run(&["journal", "check"]);
    }

    /// Copies the disk. Nothing may run here.
    pub fn save(&self) {
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(self.state()).arg(self.root.join("snapshot"));
        assert!(succeeds(&mut copy), "{copy:?}");
    }

    /// Puts the copy back. Nothing may run here.
    pub fn restore(&self) {
        self.lose_disk();
        fs::rename(self.root.join("snapshot"), self.state()).expect("restored");
    }

    /// The disk is gone.
    pub fn lose_disk(&self) {
        fs::remove_dir_all(self.state()).expect("removed");
    }
}
