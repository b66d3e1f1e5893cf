//! `fedmsg generate`: shell completions and man pages, of all programs.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Subcommand, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use fedmsg::escape::escape;
use fedmsg_tool::{Code, Fault};

use crate::Cli;
use crate::config::print;

const EXAMPLES: &str = "\
Examples:
  fedmsg generate completions --out completions       one file for each program and shell
  fedmsg generate man --out man                       one page for every program and subcommand
  man -l man/fedmsg-publish.1

The folder is made when it is missing; files of an earlier run are replaced. The path of each file is printed.

Exit codes: 0 success · 1 a file cannot be written · 2 wrong command line";

/// Options of `fedmsg generate`.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write completions of all programs, for all shells
    #[command(after_long_help = EXAMPLES)]
    Completions(Out),
    /// Write man pages of all programs, and of every subcommand
    #[command(after_long_help = EXAMPLES)]
    Man(Out),
}

#[derive(Args)]
struct Out {
    /// The folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file cannot be written.
    #[error("cannot write to {path}", path = .path.display())]
    File {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// stdout cannot be written.
    #[error("cannot write to stdout")]
    Write(#[from] io::Error),
}

impl Fault for Error {}

pub(crate) fn run(options: &Options) -> Result<Code, Error> {
    let (out, written) = match &options.command {
        Command::Completions(Out { out }) => (out, completions(out)),
        Command::Man(Out { out }) => (out, man(out)),
    };
    let paths = written.map_err(|error| Error::File { path: out.clone(), error })?;
    print(paths.iter().map(|path| escape(&path.to_string_lossy()).to_string()))?;
    Ok(Code::Ok)
}

/// `fedmsg`, and the programs that it has as subcommands.
fn programs() -> [clap::Command; 3] {
    [Cli::command(), fedmsg_tail::Cli::command(), fedmsg_relay::Cli::command()]
}

fn completions(out: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(out)?;
    let mut paths = Vec::new();
    for mut program in programs() {
        let name = program.get_name().to_owned();
        for shell in Shell::value_variants() {
            paths.push(clap_complete::generate_to(*shell, &mut program, &name, out)?);
        }
    }
    Ok(paths)
}

fn man(out: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(out)?;
    let mut paths = Vec::new();
    // The page of `fedmsg tail` has the name of the program's own, which comes later and is the same.
    for program in programs() {
        let mut program = program.disable_help_subcommand(true);
        program.build();
        page(program, out, &mut paths)?;
    }
    Ok(paths)
}

/// The page of a command, and those of its subcommands.
fn page(command: clap::Command, out: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    let subcommands: Vec<_> =
        command.get_subcommands().filter(|c| !c.is_hide_set()).cloned().collect();
    let path = Man::new(command).generate_to(out)?;
    if !paths.contains(&path) {
        paths.push(path);
    }
    subcommands.into_iter().try_for_each(|command| page(command, out, paths))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[PathBuf]) -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into());
        paths.iter().filter_map(name).collect()
    }

    #[test]
    fn the_command_line_is_consistent() {
        programs().into_iter().for_each(clap::Command::debug_assert);
    }

    #[test]
    fn every_shell_has_its_completions() {
        let folder = tempfile::tempdir().expect("folder");
        let paths = completions(&folder.path().join("new")).expect("written");
        assert_eq!(paths.len(), 3 * Shell::value_variants().len());
        // A word of each program's own.
        let words = ["explain", "delta", "identity"];
        for (paths, word) in paths.chunks(Shell::value_variants().len()).zip(words) {
            for path in paths {
                let text = std::fs::read_to_string(path).expect("read");
                assert!(text.contains(word), "{word} in {}", path.display());
            }
        }
    }

    #[test]
    fn every_subcommand_has_its_page() {
        let folder = tempfile::tempdir().expect("folder");
        let paths = man(folder.path()).expect("written");
        let names = names(&paths);
        for name in ["fedmsg.1", "fedmsg-publish.1", "fedmsg-keys-new.1", "fedmsg-generate-man.1"] {
            assert!(names.contains(&name.to_string()), "{name} in {names:?}");
        }
        for program in ["fedmsg-tail", "fedmsg-relay"] {
            let page = format!("{program}.1");
            assert_eq!(names.iter().filter(|name| **name == page).count(), 1, "{page}");
            let text = std::fs::read_to_string(folder.path().join(page)).expect("read");
            let name = program.replace('-', "\\-");
            assert!(
                text.contains(&format!("\\fB{name}\\fR [")),
                "the program, not `fedmsg …`: {text}"
            );
        }
        let policy = folder.path().join("fedmsg-policy-explain.1");
        let text = std::fs::read_to_string(policy).expect("read");
        assert!(text.contains("bodhi.update.create"), "the examples are in it: {text}");
    }
}
