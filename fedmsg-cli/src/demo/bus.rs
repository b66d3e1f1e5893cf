//! The configuration of the demo's bus, in a folder of its own that is removed at the end.

use std::io::IsTerminal;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use fedmsg::Identity;
use fedmsg::config::create_key;
use fedmsg_tool::ColorChoice;
use fedmsg_tool::color::ColorEnv;
use tempfile::TempDir;

use super::{Error, Options, Role, io};

pub(super) struct Bus {
    folder: TempDir,
    program: PathBuf,
    direct: Role,
}

impl Bus {
    pub(super) fn new(repo: &Path) -> Result<Bus, Error> {
        let program = std::env::current_exe().map_err(io("finding this program"))?;
        let folder = tempfile::Builder::new().prefix("fedmsg-demo-").tempdir();
        let folder = folder.map_err(io("making a folder"))?;
        let direct = if has_commits(repo) { Role::Git } else { Role::Files };
        let bus = Bus { folder, program, direct };
        for name in [bus.direct_name(), "fs.demo", "relay.demo"] {
            if let Ok(identity) = Identity::parse(name) {
                let config = bus.config();
                create_key(&config.join("private"), &config.join("keys.d"), &identity)?;
            }
        }
        let text = bus.settings()?;
        std::fs::write(bus.config().join("bus.toml"), text).map_err(io("writing bus.toml"))?;
        Ok(bus)
    }

    /// Who publishes on a socket of its own.
    pub(super) fn direct_name(&self) -> &'static str {
        match self.direct {
            Role::Git => "git.demo",
            Role::Files | Role::Told => "fs.direct",
        }
    }

    pub(super) fn direct_role(&self) -> Role {
        self.direct
    }

    /// Whether the tail is to colour, which cannot see our terminal.
    pub(super) fn color(&self) -> bool {
        ColorChoice::Auto.decide(ColorEnv::read(), std::io::stdout().is_terminal())
    }

    /// This program with this bus's configuration, whatever the environment says.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FEDMSG_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).arg("--config-dir").arg(self.config());
        command
    }

    /// A publishing service. The one without an endpoint entry goes through the relay.
    pub(super) fn source(&self, role: Role, identity: &str, options: &Options) -> Command {
        let name = match role {
            Role::Git => "git",
            Role::Files => "files",
            Role::Told => "told",
        };
        let mut command = self.command(&["demo", "--role", name]);
        command.arg("--repo").arg(&options.repo).arg("--watch").arg(&options.watch);
        command.arg("--limit").arg(options.limit.to_string());
        command.env("FEDMSG_IDENTITY", identity);
        command
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("fedmsg.d")
    }

    fn settings(&self) -> Result<String, Error> {
        let [direct, replay, relay, relay_replay, submit] = free_ports()?;
        let name = self.direct_name();
        let state = toml_string(&self.folder.path().join("state"));
        Ok(format!(
            r#"[bus]
topic_prefix = "org.example"
environment = "demo"
state_dir = {state}

[endpoints."{name}"]
publish = "tcp://127.0.0.1:{direct}"
replay = "tcp://127.0.0.1:{replay}"

[endpoints."relay.demo"]
publish = "tcp://127.0.0.1:{relay}"
replay = "tcp://127.0.0.1:{relay_replay}"
submit = "tcp://127.0.0.1:{submit}"
carries = ["{{prefix}}.{{env}}.>"]

[publisher]
relays = ["relay.demo"]

[[publish]]
service = "*"
topics = ["{{prefix}}.{{env}}.{{service}}.>"]
"#
        ))
    }
}

fn toml_string(path: &Path) -> String {
    // A JSON string of these characters is a TOML string, too.
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

/// Ports that are free now; all are held until all are known, so that they differ.
fn free_ports() -> Result<[u16; 5], Error> {
    let bind = || TcpListener::bind("127.0.0.1:0").map_err(io("finding a free port"));
    let held = [bind()?, bind()?, bind()?, bind()?, bind()?];
    let mut ports = [0; 5];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr().map_err(io("finding a free port"))?.port();
    }
    Ok(ports)
}

/// Whether there is a repository with at least one commit, and a git to read it.
fn has_commits(repo: &Path) -> bool {
    let mut git = Command::new("git");
    git.arg("-C").arg(repo).args(["rev-parse", "--verify", "--quiet", "HEAD"]);
    git.output().is_ok_and(|output| output.status.success())
}
