//! Processes: built once, killed when they are dropped, their lines read by threads.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PATIENCE;

/// The folder of the programs, with this profile's builds.
fn programs() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let own = std::env::current_exe().expect("the test program has a path");
        let programs = own.ancestors().nth(2).expect("TARGET/PROFILE/deps/main").to_owned();
        let target = programs.parent().expect("TARGET/PROFILE").to_owned();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--workspace", "--bins"]);
        let examples = ["publisher", "many_publishers", "many_readers", "consumer", "outbox_table"];
        for program in examples {
            cargo.args(["--example", program]);
        }
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).env("CARGO_TARGET_DIR", target);
        if programs.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo runs").success(), "the programs do not build");
        programs
    })
}

/// A program of the workspace, by name, with nothing of this process's settings.
pub fn command(name: &str) -> Command {
    let mut command = Command::new(programs().join(name));
    for variable in ["FEDMSG_CONFIG_DIR", "FEDMSG_IDENTITY", "FEDMSG_STATE_DIR", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command
}

/// Sends a signal, such as `-TERM`.
fn signal(name: &str, id: u32) {
    let sent = Command::new("kill").args([name, &id.to_string()]).status().expect("kill runs");
    assert!(sent.success(), "kill {name} {id}");
}

/// A running program. Dropping it kills it.
pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    out: Receiver<String>,
    err: Receiver<String>,
    seen: Arc<Mutex<Vec<String>>>,
    name: String,
}

impl Program {
    pub fn start(mut command: Command) -> Program {
        let name = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let seen = Arc::default();
        let out = read(child.stdout.take().expect("piped"), "out", &seen);
        let err = read(child.stderr.take().expect("piped"), "err", &seen);
        Program { stdin: child.stdin.take(), child, out, err, seen, name }
    }

    /// The next line of stdout.
    pub fn line(&mut self) -> String {
        self.find(Pipe::Out, "a line", |_| true)
    }

    /// The same of a program that has much to do.
    pub fn line_within(&mut self, patience: Duration) -> String {
        self.find_within(patience, Pipe::Out, "a line", |_| true)
    }

    /// The next line of stdout, or nothing when it has ended.
    pub fn line_or_end(&mut self) -> Option<String> {
        match self.out.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => self.fail("a line, or the end"),
        }
    }

    /// The next line of stdout, if it comes within this time.
    pub fn line_if_within(&mut self, time: Duration) -> Option<String> {
        match self.out.recv_timeout(time) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => self.fail("a line, or silence"),
        }
    }

    /// The lines of stdout that are there.
    pub fn lines_now(&mut self) -> Vec<String> {
        self.out.try_iter().collect()
    }

    /// The next line of stdout, as JSON.
    pub fn json(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Waits for a line of stderr with this text.
    pub fn says(&mut self, text: &str) -> String {
        self.find(Pipe::Err, text, |line| line.contains(text))
    }

    /// Writes a line to stdin.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        writeln!(stdin, "{line}").expect("the program reads");
    }

    /// Writes a line to stdin, and gives the next one of stdout.
    pub fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.line()
    }

    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn term(&self) {
        signal("-TERM", self.child.id());
    }

    /// Has it stand still (SIGSTOP).
    pub fn stop(&self) {
        signal("-STOP", self.child.id());
    }

    /// Has it go on (SIGCONT).
    pub fn go_on(&self) {
        signal("-CONT", self.child.id());
    }

    /// kill -9, and waits until it is dead.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("dead");
    }

    /// What it wrote to stdout before it died, as far as nobody took it; the last line may be cut off.
    pub fn last_lines(&mut self) -> Vec<String> {
        self.rest(Pipe::Out, PATIENCE)
    }

    /// Waits for the end: the exit code, and the lines of stdout and of stderr that nobody took.
    pub fn end(&mut self) -> (i32, Vec<String>, Vec<String>) {
        self.end_within(PATIENCE)
    }

    /// The same for a program that has much to do.
    pub fn end_within(&mut self, patience: Duration) -> (i32, Vec<String>, Vec<String>) {
        self.stdin = None;
        let (out, err) = (self.rest(Pipe::Out, patience), self.rest(Pipe::Err, patience));
        let status = self.child.wait().expect("it ends");
        (status.code().unwrap_or(-1), out, err)
    }

    fn rest(&mut self, pipe: Pipe, patience: Duration) -> Vec<String> {
        let deadline = Instant::now() + patience;
        let mut lines = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.pipe(pipe).recv_timeout(left) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => return lines,
                Err(RecvTimeoutError::Timeout) => self.fail("its end"),
            }
        }
    }

    fn find(&mut self, pipe: Pipe, what: &str, test: impl Fn(&str) -> bool) -> String {
        self.find_within(PATIENCE, pipe, what, test)
    }

    fn find_within(
        &mut self,
        patience: Duration,
        pipe: Pipe,
        what: &str,
        test: impl Fn(&str) -> bool,
    ) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.pipe(pipe).recv_timeout(left) {
                Ok(line) if test(&line) => return line,
                Ok(_) => {}
                Err(_) => self.fail(what),
            }
        }
    }

    fn pipe(&self, pipe: Pipe) -> &Receiver<String> {
        match pipe {
            Pipe::Out => &self.out,
            Pipe::Err => &self.err,
        }
    }

    fn fail(&self, what: &str) -> ! {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
        panic!("{}: waited for {what:?}; it wrote\n{seen}", self.name)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone, Copy)]
enum Pipe {
    Out,
    Err,
}

fn read(
    pipe: impl Read + Send + 'static,
    mark: &'static str,
    seen: &Arc<Mutex<Vec<String>>>,
) -> Receiver<String> {
    let (sender, receiver) = channel();
    let seen = Arc::clone(seen);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(format!("{mark}: {line}"));
            drop(seen);
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
