//! The child processes: this program again, with a hidden option that says what to do.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::Error;
use super::roles::Role;

/// A child; it is ended when this is dropped.
pub(super) struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    pub(super) fn start(role: &Role, config_dir: Option<&Path>) -> Result<Running, Error> {
        let mut command = Command::new(std::env::current_exe()?);
        let role = serde_json::to_string(role).map_err(Error::other)?;
        command.args(["bench", "--role", &role]);
        if let Some(folder) = config_dir {
            command.arg("--config-dir").arg(folder);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| Error::other("a child without stdout"))?;
        Ok(Running { child, lines: BufReader::new(stdout) })
    }

    /// The next line that the child says.
    pub(super) fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        match self.lines.read_line(&mut line)? {
            0 => Err(Error::other("a child ended without its result")),
            _ => Ok(line),
        }
    }

    /// Lets a publisher that is ready begin.
    pub(super) fn go(&mut self) -> Result<(), Error> {
        self.tell("")
    }

    /// Says a line to the child.
    pub(super) fn tell(&mut self, line: &str) -> Result<(), Error> {
        let stdin = self.child.stdin.as_mut();
        Ok(stdin.map_or(Ok(()), |stdin| writeln!(stdin, "{line}"))?)
    }

    /// Stops the child, as SIGSTOP does.
    pub(super) fn freeze(&self) -> Result<(), Error> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).map_err(Error::other)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
