//! A relay as a process, its log on a real disk.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::super::Error;

/// Longest time until a relay is ready, and until one that is told to end has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// A relay; it is ended when this is dropped.
pub(super) struct Relay {
    child: Child,
    /// What it logs, as JSON.
    said: Receiver<Value>,
}

/// What a relay says of its life at its end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Life {
    /// Appends to its log, each with one sync.
    pub(super) appends: u64,
    /// Bytes of its log, those before this life included.
    pub(super) log_bytes: u64,
}

impl Relay {
    /// Starts the relay of this configuration, and waits until it takes messages.
    pub(super) fn start(config_dir: &Path) -> Result<Relay, Error> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["relay", "--log-format", "json", "--config-dir"]).arg(config_dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| Error::other("a relay without stderr"))?;
        let (sender, said) = channel();
        // The pipe must never be full: a relay that cannot log stands still.
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let relay = Relay { child, said };
        relay.says("ready")?;
        Ok(relay)
    }

    /// Waits for this message.
    fn says(&self, message: &str) -> Result<Value, Error> {
        let mut last = Value::Null;
        while let Ok(said) = self.said.recv_timeout(PATIENCE) {
            if said["message"] == message {
                return Ok(said);
            }
            last = said;
        }
        Err(Error::Other(format!("the relay does not say `{message}`; its last words are {last}")))
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it in good order.
    pub(super) fn end(mut self) -> Result<Life, Error> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).map_err(Error::other)?;
        let said = self.says("its log")?;
        self.says("ended")?;
        self.child.wait()?;
        let number = |name: &str| {
            let number = said[name].as_u64();
            number.ok_or_else(|| Error::Other(format!("the relay does not say its {name}: {said}")))
        };
        Ok(Life { appends: number("appends")?, log_bytes: number("bytes")? })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
