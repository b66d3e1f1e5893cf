//! What a program asks of the kernel, in the order in which strace saw it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::needs::succeeds;

/// A call, and when it began and ended: numbers of lines of the trace. What ended before another one began, in any
/// thread, happened before it.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: String,
    /// What the first argument is, if it is a descriptor: a path, or the kind of a socket.
    pub on: String,
    pub arguments: String,
    pub begin: usize,
    /// Nothing when it never ended.
    pub end: Option<usize>,
    pub result: String,
}

impl Call {
    pub fn succeeded(&self) -> bool {
        self.end.is_some() && !self.result.starts_with('-')
    }

    /// Whether its bytes have this text in them.
    pub fn has(&self, text: &str) -> bool {
        self.arguments.contains(&text.replace('"', "\\\""))
    }
}

/// Whether strace is here and may trace.
pub fn available() -> bool {
    succeeds(Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]))
}

/// The same command under strace, which writes writes, syncs and renames of all its threads to this file.
pub fn traced(command: &Command, file: &Path) -> Command {
    let calls = "trace=write,writev,pwrite64,fdatasync,fsync,/^rename,/^send";
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-qq", "-s", "1048576", "-e", calls, "-e", "signal=none", "-o"]);
    strace.arg(file).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace
}

/// Reads what strace wrote.
pub fn calls(file: &Path) -> Vec<Call> {
    parse(&fs::read_to_string(file).expect("a trace"))
}

fn parse(text: &str) -> Vec<Call> {
    let (mut calls, mut open) = (Vec::<Call>::new(), HashMap::<&str, usize>::new());
    for (at, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let call = open.remove(thread).and_then(|index| calls.get_mut(index));
            let Some(call) = call else { panic!("{resumed} ends and never began") };
            (call.end, call.result) = (Some(at), result(resumed));
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else { continue };
        let unfinished = rest.ends_with("<unfinished ...>");
        if unfinished {
            open.insert(thread, calls.len());
        }
        calls.push(Call {
            name: name.into(),
            on: on(arguments),
            arguments: arguments.into(),
            begin: at,
            end: (!unfinished).then_some(at),
            result: if unfinished { String::new() } else { result(rest) },
        });
    }
    calls
}

/// What a descriptor is, as `-y` shows it: `9</path>`.
fn on(arguments: &str) -> String {
    let digits = arguments.trim_start_matches(|c: char| c.is_ascii_digit());
    let known = digits.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    known.map_or(String::new(), |(on, _)| on.into())
}

fn result(line: &str) -> String {
    line.rsplit_once(" = ").map_or(String::new(), |(_, result)| result.into())
}

/// Both paths of a rename.
pub fn renamed(call: &Call) -> Option<(PathBuf, PathBuf)> {
    let mut quoted = call.arguments.split('"').skip(1).step_by(2);
    Some((quoted.next()?.into(), quoted.next()?.into()))
}

#[test]
fn calls_of_several_threads_are_put_together() {
    let calls = parse(
        "10 pwrite64(9</s/a.seg.new>, \"{\\\"i\\\":1,\"..., 9, 0) = 9\n\
         10 fdatasync(9</s/a.seg.new> <unfinished ...>\n\
         11 sendto(12<TCP:[4]>, \"x\", 1, MSG_NOSIGNAL, NULL, 0) = -1 EAGAIN (again)\n\
         10 <... fdatasync resumed>) = 0\n\
         10 rename(\"/s/a.seg.new\", \"/s/a.seg\") = 0\n\
         11 +++ exited with 0 +++\n",
    );
    let seen: Vec<(&str, &str, usize, Option<usize>, bool)> = calls
        .iter()
        .map(|call| (&*call.name, &*call.on, call.begin, call.end, call.succeeded()))
        .collect();
    assert_eq!(
        seen,
        [
            ("pwrite64", "/s/a.seg.new", 0, Some(0), true),
            ("fdatasync", "/s/a.seg.new", 1, Some(3), true),
            ("sendto", "TCP:[4]", 2, Some(2), false),
            ("rename", "", 4, Some(4), true),
        ]
    );
    assert!(calls[0].has("{\"i\":1,") && !calls[0].has("\"i\":11,"));
    assert_eq!(renamed(&calls[3]), Some(("/s/a.seg.new".into(), "/s/a.seg".into())));
}
