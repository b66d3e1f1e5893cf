//! The services of the demo: commits of a repository, files of a folder and what changes in it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use fedmsg::{Draft, Publisher};
use fedmsg_tool::{Code, CommonOptions, logging};
use notify::event::ModifyKind;
use notify::{EventKind, RecursiveMode, Watcher};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;

use super::{Error, Options, PATIENCE, Role, io};

/// Folders below the watched one that are looked into.
const DEPTH_MAX: usize = 8;

/// A service: publishes what is there, says how much that was, and with `live` on stdin goes on with what
/// changes, until stdin ends.
pub(super) fn run(role: Role, options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let _log = logging::init(common, LevelFilter::WARN);
    let publisher = Publisher::builder().load(common.load_options()).build()?;
    if role == Role::Told {
        return told(&publisher);
    }
    if !publisher.is_relayed() && !publisher.wait_for_subscribers(1, PATIENCE) {
        return Err(Error::NoSubscriber);
    }
    let mut published = 0;
    for found in found(role, options)? {
        publisher.publish(found.draft()).wait()?;
        published += 1;
    }
    say(&json!({"published": published}))?;
    let mut word = String::new();
    std::io::stdin().read_line(&mut word).map_err(io("stdin"))?;
    if word.trim() == "live" {
        live(&publisher, &options.watch)?;
    }
    publisher.close();
    Ok(Code::Ok)
}

/// What another process has published, and under which name.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) msg_id: String,
    pub(super) found: Found,
}

/// A service that may be killed: it publishes what it is told on stdin, and says of each when it is kept. Who
/// heard nothing tells it again, and gets the receipt of the first time if there was one.
fn told(publisher: &Publisher) -> Result<Code, Error> {
    say(&json!({"ready": publisher.stream().to_string()}))?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(io("stdin"))?;
        let Ok(Order { msg_id, found }) = serde_json::from_str(&line) else { continue };
        let receipt = publisher.publish(found.draft().msg_id(msg_id)).wait()?;
        say(&json!({"published": receipt.msg_id}))?;
    }
    publisher.close();
    Ok(Code::Ok)
}

fn say(value: &Value) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}").and_then(|()| out.flush()).map_err(io("stdout"))
}

/// Something that was found, as a message.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Found {
    topic: String,
    summary: String,
    body: Value,
}

impl Found {
    pub(super) fn draft(self) -> Draft {
        Draft::new(self.topic).body(&self.body).summary(self.summary)
    }
}

/// What there is to publish: commits where there is a repository, and otherwise files.
pub(super) fn found(role: Role, options: &Options) -> Result<Vec<Found>, Error> {
    let mut all = Vec::new();
    match role {
        Role::Git => {
            all.push(opened("git.repository", &options.repo, "commits"));
            commits(&options.repo, options.limit, &mut all)?;
        }
        Role::Files | Role::Told => {
            let (folder, mut paths) = (&options.watch, Vec::new());
            all.push(opened("fs.folder", folder, "files"));
            collect(folder, DEPTH_MAX, options.limit, &mut paths);
            all.extend(paths.iter().map(|path| file(folder, path, "create")));
        }
    }
    Ok(all)
}

/// The newest commits, oldest first.
fn commits(repo: &Path, limit: usize, all: &mut Vec<Found>) -> Result<(), Error> {
    let mut git = Command::new("git");
    git.arg("-C").arg(repo).args(["log", "--reverse", "--no-color", "--encoding=UTF-8"]);
    git.arg(format!("--max-count={limit}")).arg("--format=%H%x1f%an%x1f%ct%x1f%s");
    let mut log = git.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(io("git"))?;
    let Some(stdout) = log.stdout.take() else { return Ok(()) };
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.map_err(io("git log"))?;
        let line = String::from_utf8_lossy(&line);
        let mut fields = line.splitn(4, '\u{1f}');
        let mut next = || fields.next().unwrap_or_default();
        let (hash, author, time, subject) = (next(), next(), next(), next());
        let body = json!({
            "commit": hash,
            "author": author,
            "time": time.parse::<i64>().unwrap_or_default(),
            "subject": subject,
        });
        let short = hash.get(..8).unwrap_or(hash);
        let summary = clip(&format!("{short} {subject} ({author})"));
        all.push(Found { topic: "git.commit.create".into(), summary, body });
    }
    log.wait().map_err(io("git"))?;
    Ok(())
}

/// What is looked at: there is a message also where nothing is inside.
fn opened(what: &str, path: &Path, shows: &str) -> Found {
    let path = path.canonicalize().unwrap_or_else(|_| path.into());
    let path = path.to_string_lossy();
    let summary = clip(&format!("{shows} of {path}"));
    Found { topic: format!("{what}.open"), summary, body: json!({"path": path}) }
}

fn collect(folder: &Path, depth: usize, limit: usize, found: &mut Vec<PathBuf>) {
    // A folder that cannot be read has nothing to show.
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if found.len() >= limit {
            return;
        }
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() && depth > 0 && is_shown(&path) => {
                collect(&path, depth - 1, limit, found);
            }
            Ok(metadata) if metadata.is_file() && is_shown(&path) => found.push(path),
            _ => {}
        }
    }
}

/// Hidden files, and what builds leave behind, are of no interest.
fn is_shown(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && name != "target"
}

/// Publishes what changes, until stdin ends.
fn live(publisher: &Publisher, folder: &Path) -> Result<(), Error> {
    let (sender, changes) = channel();
    let ended = sender.clone();
    let mut watcher = notify::recommended_watcher(move |change| drop(sender.send(Some(change))))?;
    watcher.watch(folder, RecursiveMode::Recursive)?;
    std::thread::spawn(move || {
        // Whatever stdin says or however it fails: then it is over.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(None);
    });
    let root = folder.canonicalize().unwrap_or_else(|_| folder.into());
    while let Ok(Some(change)) = changes.recv() {
        let change = change?;
        let verb = match change.kind {
            EventKind::Create(_) => "create",
            EventKind::Modify(ModifyKind::Data(_)) => "update",
            EventKind::Remove(_) => "remove",
            _ => continue,
        };
        for path in change.paths {
            let inner = path.strip_prefix(&root).or_else(|_| path.strip_prefix(folder));
            let shown = inner.unwrap_or(&path).iter().all(|part| is_shown(Path::new(part)));
            if shown && !path.is_dir() {
                publisher.publish(file(folder, &path, verb).draft()).wait()?;
            }
        }
    }
    Ok(())
}

fn file(folder: &Path, path: &Path, verb: &str) -> Found {
    let name = path.strip_prefix(folder).unwrap_or(path).to_string_lossy();
    let bytes = path.symlink_metadata().map(|metadata| metadata.len()).ok();
    let summary = clip(&match bytes {
        Some(bytes) => format!("{name} ({bytes} bytes)"),
        None => name.to_string(),
    });
    let body = json!({"path": name, "bytes": bytes});
    Found { topic: format!("fs.file.{verb}"), summary, body }
}

/// A header has a bound; a line for people is shorter than that.
fn clip(text: &str) -> String {
    text.chars().take(200).collect()
}
