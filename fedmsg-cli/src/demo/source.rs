//! The services of the demo: commits of a repository, files of a folder and what changes in it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use fedmsg::{Draft, Publisher};
use fedmsg_tool::{Code, CommonOptions, logging};
use notify::event::ModifyKind;
use notify::{EventKind, RecursiveMode, Watcher};
use serde_json::json;
use tracing::level_filters::LevelFilter;

use super::{Error, Options, PATIENCE, Role, io};

/// Folders below the watched one that are looked into.
const DEPTH_MAX: usize = 8;

/// A service: publishes what is there, says how much that was, and with `live` on stdin goes on with what
/// changes, until stdin ends.
pub(super) fn run(role: Role, options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let _log = logging::init(common, LevelFilter::WARN);
    let publisher = Publisher::builder().load(common.load_options()).build()?;
    if !publisher.is_relayed() && !publisher.wait_for_subscribers(1, PATIENCE) {
        return Err(Error::NoSubscriber);
    }
    let published = match role {
        Role::Git => commits(&publisher, &options.repo, options.limit)?,
        Role::Files => files(&publisher, &options.watch, options.limit)?,
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", json!({"published": published})).map_err(io("stdout"))?;
    out.flush().map_err(io("stdout"))?;
    let mut word = String::new();
    std::io::stdin().read_line(&mut word).map_err(io("stdin"))?;
    if word.trim() == "live" {
        live(&publisher, &options.watch)?;
    }
    publisher.close();
    Ok(Code::Ok)
}

/// Publishes the newest commits, oldest first.
fn commits(publisher: &Publisher, repo: &Path, limit: usize) -> Result<u64, Error> {
    let mut git = Command::new("git");
    git.arg("-C").arg(repo).args(["log", "--reverse", "--no-color", "--encoding=UTF-8"]);
    git.arg(format!("--max-count={limit}")).arg("--format=%H%x1f%an%x1f%ct%x1f%s");
    let mut log = git.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(io("git"))?;
    let mut published = opened(publisher, "git.repository", repo, "commits")?;
    let Some(stdout) = log.stdout.take() else { return Ok(published) };
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
        let draft = Draft::new("git.commit.create").body(&body).summary(summary);
        publisher.publish(draft).wait()?;
        published += 1;
    }
    log.wait().map_err(io("git"))?;
    Ok(published)
}

/// Publishes the files that are there.
fn files(publisher: &Publisher, folder: &Path, limit: usize) -> Result<u64, Error> {
    let mut found = Vec::new();
    collect(folder, DEPTH_MAX, limit, &mut found);
    let opened = opened(publisher, "fs.folder", folder, "files")?;
    for path in &found {
        publish_file(publisher, folder, path, "create")?;
    }
    Ok(opened + found.len() as u64)
}

/// Says what is looked at, and that this was a message: there is one also where nothing is inside.
fn opened(publisher: &Publisher, what: &str, path: &Path, shows: &str) -> Result<u64, Error> {
    let path = path.canonicalize().unwrap_or_else(|_| path.into());
    let path = path.to_string_lossy();
    let summary = clip(&format!("{shows} of {path}"));
    let draft = Draft::new(format!("{what}.open")).body(&json!({"path": path})).summary(summary);
    publisher.publish(draft).wait()?;
    Ok(1)
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
                publish_file(publisher, folder, &path, verb)?;
            }
        }
    }
    Ok(())
}

fn publish_file(
    publisher: &Publisher,
    folder: &Path,
    path: &Path,
    verb: &str,
) -> Result<(), Error> {
    let name = path.strip_prefix(folder).unwrap_or(path).to_string_lossy();
    let bytes = path.symlink_metadata().map(|metadata| metadata.len()).ok();
    let summary = clip(&match bytes {
        Some(bytes) => format!("{name} ({bytes} bytes)"),
        None => name.to_string(),
    });
    let body = json!({"path": name, "bytes": bytes});
    let draft = Draft::new(format!("fs.file.{verb}")).body(&body).summary(summary);
    publisher.publish(draft).wait()?;
    Ok(())
}

/// A header has a bound; a line for people is shorter than that.
fn clip(text: &str) -> String {
    text.chars().take(200).collect()
}
