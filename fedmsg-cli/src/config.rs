//! `fedmsg config`: what is wrong with the configuration, and what it says.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use fedmsg::config::{Config, ConfigError, Origin};
use fedmsg::escape::{escape, escape_json};
use fedmsg_tool::output::Data;
use fedmsg_tool::{Code, CommonOptions, Fault, logging};
use serde_json::json;
use tracing::level_filters::LevelFilter;

const EXAMPLES: &str = "\
Examples:
  fedmsg config check                       before a reload: everything that is wrong, one problem a line
  fedmsg --config-dir ./new config check    a folder that is not in force yet
  fedmsg config show --origin               every setting, and the file and line that it comes from
  fedmsg config show --json | jq -r 'select(.key == \"bus.environment\").value'

Exit codes: 0 success · 1 the configuration is wrong · 2 wrong command line";

const CHECK_EXAMPLES: &str = "\
Examples:
  fedmsg config check
  fedmsg --config-dir ./new config check && sudo rsync -a --delete ./new/ /etc/fedmsg.d/

Unknown keys are errors here, and warnings elsewhere. When all is well, one line on stdout says how much was
read, and the digest that heartbeats carry. Otherwise every problem is one line on stderr.

Exit codes: 0 all is well · 1 something is wrong · 2 wrong command line";

const SHOW_EXAMPLES: &str = "\
Examples:
  fedmsg config show
  fedmsg config show --origin | grep environment
  fedmsg config show --json | jq -r .key

Values are written as TOML. With --json each line is an object of `key`, `value` (its TOML text) and `origin`.

Exit codes: 0 success · 1 the configuration is wrong · 2 wrong command line";

/// Options of `fedmsg config`.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read everything strictly, and say everything that is wrong
    #[command(after_long_help = CHECK_EXAMPLES)]
    Check,
    /// Print every setting
    #[command(after_long_help = SHOW_EXAMPLES)]
    Show(Show),
}

#[derive(Args)]
struct Show {
    /// Say where each value comes from
    #[arg(long)]
    origin: bool,

    /// One JSON object a line, the origin included
    #[arg(long)]
    json: bool,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// stdout cannot be written.
    #[error("cannot write to stdout")]
    Write(#[from] io::Error),
}

impl Fault for Error {}

pub(crate) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let _log = logging::init(common, LevelFilter::WARN);
    match &options.command {
        Command::Check => check(common),
        Command::Show(options) => {
            let config = load(common)?;
            print(config.origins().iter().map(|origin| shown(origin, options)))?;
            Ok(Code::Ok)
        }
    }
}

fn check(common: &CommonOptions) -> Result<Code, Error> {
    let mut load = common.load_options();
    load.strict = true;
    match Config::load(&load) {
        Ok(config) => {
            warn(&config);
            print([verdict(&config)])?;
            Ok(Code::Ok)
        }
        Err(error) => {
            let mut stderr = io::stderr().lock();
            for problem in error.problems() {
                // When stderr is closed, the exit code still tells it.
                let _ = writeln!(stderr, "{}", escape(&problem.to_string()));
            }
            Ok(Code::General)
        }
    }
}

/// Reads the configuration as the options say; what is odd about it is logged.
pub(crate) fn load(common: &CommonOptions) -> Result<Config, ConfigError> {
    let config = Config::load(&common.load_options())?;
    warn(&config);
    Ok(config)
}

fn warn(config: &Config) {
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
}

/// Writes lines to stdout. A reader who leaves has seen enough.
pub(crate) fn print(lines: impl IntoIterator<Item = String>) -> io::Result<()> {
    let mut data = Data::stdout(false);
    for mut line in lines {
        line.push('\n');
        if data.record(line.as_bytes())?.is_gone() {
            return Ok(());
        }
    }
    data.flush().map(|_reader| ())
}

fn verdict(config: &Config) -> String {
    let endpoints = counted(config.endpoints.len(), "endpoint");
    let keys = counted(config.trust.keys.len(), "key");
    let rules = counted(config.trust.policy.rules().len(), "rule");
    format!("ok: {endpoints}, {keys}, {rules}, digest {}", config.digest)
}

/// `1 key`, `2 keys`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn shown(setting: &Origin, options: &Show) -> String {
    let Origin { key, value, origin, .. } = setting;
    if options.json {
        let object = json!({ "key": key, "value": value, "origin": origin });
        return escape_json(&object.to_string()).into_owned();
    }
    let line = match options.origin {
        true => setting.to_string(),
        false => format!("{key} = {value}"),
    };
    escape(&line).to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use fedmsg::config::LoadOptions;

    /// A configuration of these files, as (name, text).
    pub(crate) fn config(files: &[(&str, &str)]) -> Config {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::create_dir(folder.path().join("keys.d")).expect("keys.d");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        let load = LoadOptions { folder: Some(folder.path().into()), ..LoadOptions::default() };
        Config::load(&load).expect("configuration")
    }

    #[test]
    fn a_good_configuration_is_counted() {
        let config = config(&[(
            "bus.toml",
            "[bus]\nenvironment = \"prod\"\n[endpoints.\"a.h\"]\npublish = \"tcp://127.0.0.1:4001\"\n",
        )]);
        let expected = format!("ok: 1 endpoint, 0 keys, 0 rules, digest {}", config.digest);
        assert_eq!(verdict(&config), expected);
    }

    #[test]
    fn settings_are_shown_with_and_without_their_origin() {
        let config = config(&[("bus.toml", "[bus]\nenvironment = \"prod\"\n")]);
        let setting = config.origins().iter().find(|s| s.key == "bus.environment").expect("set");
        let line = |origin, json| shown(setting, &Show { origin, json });
        assert_eq!(line(false, false), "bus.environment = \"prod\"");
        assert!(line(true, false).ends_with("bus.toml:2"), "{}", line(true, false));
        let object: serde_json::Value = serde_json::from_str(&line(false, true)).expect("JSON");
        assert_eq!(object["value"], "\"prod\"");
        assert_eq!(object["origin"], setting.origin.as_str());
    }
}
