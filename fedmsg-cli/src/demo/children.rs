//! Child processes whose output is read line by line, and which never outlive the demo.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Error, PATIENCE, io};

/// Which of a child's outputs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    Stdout,
    Stderr,
}

pub(super) struct Child {
    name: String,
    process: std::process::Child,
    lines: Receiver<(Lines, String)>,
    /// What was read and not asked for yet.
    unread: Vec<(Lines, String)>,
}

impl Child {
    /// Starts a process whose output is for us alone.
    pub(super) fn start(name: &str, command: Command) -> Result<Child, Error> {
        Child::spawn(name, command, false)
    }

    /// Starts a process whose stdout is shown as it comes.
    pub(super) fn start_shown(name: &str, command: Command) -> Result<Child, Error> {
        Child::spawn(name, command, true)
    }

    fn spawn(name: &str, mut command: Command, shown: bool) -> Result<Child, Error> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(io(format!("starting {name}")))?;
        let (sender, lines) = channel();
        if let Some(stdout) = process.stdout.take() {
            read(stdout, Lines::Stdout, shown, sender.clone());
        }
        if let Some(stderr) = process.stderr.take() {
            read(stderr, Lines::Stderr, false, sender);
        }
        Ok(Child { name: name.into(), process, lines, unread: Vec::new() })
    }

    /// The first line that fits, among those that came and those that come.
    pub(super) fn wait_for_line(
        &mut self,
        of: Lines,
        what: &str,
        fits: impl Fn(&str) -> bool,
    ) -> Result<String, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.unread.iter().position(|(from, line)| *from == of && fits(line));
            if let Some(at) = found {
                return Ok(self.unread.remove(at).1);
            }
            if !self.read_until(deadline) {
                let last: Vec<&str> = self.unread.iter().map(|(_, line)| line.as_str()).collect();
                let said = last[last.len().saturating_sub(8)..].join("\n");
                let said = fedmsg::escape::escape(&said).to_string().replace("\\n", "\n");
                return Err(Error::Stuck { who: self.name.clone(), what: what.into(), said });
            }
        }
    }

    /// Waits for so many lines in all, or until the time is over: what is missing then shows in the counts.
    pub(super) fn wait_for_lines(&mut self, of: Lines, count: usize, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        while self.unread.iter().filter(|(from, _)| *from == of).count() < count
            && self.read_until(deadline)
        {}
    }

    fn read_until(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = self.lines.recv_timeout(left);
        line.map(|line| self.unread.push(line)).is_ok()
    }

    /// The next line of stdout that was not asked for yet; waits for it at most so long.
    pub(super) fn next_line(&mut self, timeout: Duration) -> Option<String> {
        let deadline = Instant::now() + timeout;
        loop {
            let found = self.unread.iter().position(|(of, _)| *of == Lines::Stdout);
            if let Some(at) = found {
                return Some(self.unread.remove(at).1);
            }
            if !self.read_until(deadline) {
                return None;
            }
        }
    }

    /// Ends it as nothing else does: it learns nothing of it (SIGKILL).
    pub(super) fn kill(&mut self) -> Result<(), Error> {
        let killed = self.process.kill().and_then(|()| self.process.wait());
        killed.map(drop).map_err(io(format!("killing {}", self.name)))
    }

    /// Writes a line to its stdin.
    pub(super) fn say(&mut self, line: &str) -> Result<(), Error> {
        let Some(stdin) = &mut self.process.stdin else { return Ok(()) };
        writeln!(stdin, "{line}").map_err(io(format!("talking to {}", self.name)))
    }

    /// Asks it to end.
    pub(super) fn terminate(&mut self) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            // It may have ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // An end of stdin and SIGTERM ask it to end; SIGKILL makes sure that nothing stays behind.
        drop(self.process.stdin.take());
        self.terminate();
        let deadline = Instant::now() + Duration::from_secs(3);
        while self.read_until(deadline) {}
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read(from: impl Read + Send + 'static, of: Lines, shown: bool, sender: Sender<(Lines, String)>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if shown && writeln!(std::io::stdout().lock(), "{line}").is_err() {
                return;
            }
            if sender.send((of, line)).is_err() && !shown {
                return;
            }
        }
    });
}
