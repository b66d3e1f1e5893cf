//! A bus for one figure: a temporary configuration folder, with keys and free ports of its own.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use fedmsg::Identity;
use fedmsg::config::create_key;
use tempfile::TempDir;

use super::Error;

/// The configuration; it is removed when this is dropped.
pub(super) struct Bus {
    folder: TempDir,
    pub(super) identities: Vec<String>,
}

impl Bus {
    /// A bus of so many publishers.
    pub(super) fn new(publishers: usize) -> Result<Bus, Error> {
        let folder = tempfile::Builder::new().prefix("fedmsg-bench-").tempdir()?;
        let root = folder.path();
        let config = root.join("config");
        fs::create_dir_all(config.join("policy.d"))?;
        let state = root.join("state");
        let addresses = free_addresses(publishers)?;
        let mut text = format!(
            "[bus]\ntopic_prefix = \"org.example\"\nenvironment = \"bench\"\nstate_dir = \"{}\"\n\n[publisher]\nlevel = \"memory\"\n\n[endpoints]\n",
            state.display()
        );
        let mut identities = Vec::new();
        for (at, address) in addresses.iter().enumerate() {
            let name = format!("bench.p{at}");
            let identity = Identity::parse(&name).map_err(Error::other)?;
            create_key(&config.join("private"), &config.join("keys.d"), &identity)
                .map_err(Error::other)?;
            text.push_str(&format!("\"{name}\" = [\"{address}\"]\n"));
            identities.push(name);
        }
        fs::write(config.join("10-bench.toml"), text)?;
        let rule = "[[publish]]\nservice = \"*\"\ntopics = [\"{prefix}.{env}.{service}.>\"]\n";
        fs::write(config.join("policy.d/10-own.toml"), rule)?;
        Ok(Bus { folder, identities })
    }

    /// The folder for `--config-dir`.
    pub(super) fn config_dir(&self) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("config")
    }
}

/// Addresses on loopback that nobody uses at the moment.
pub(super) fn free_addresses(count: usize) -> Result<Vec<String>, Error> {
    let bound = (0..count).map(|_| TcpListener::bind("127.0.0.1:0"));
    let listeners = bound.collect::<Result<Vec<_>, _>>()?;
    let address = |listener: &TcpListener| Ok(format!("tcp://{}", listener.local_addr()?));
    listeners.iter().map(address).collect()
}
