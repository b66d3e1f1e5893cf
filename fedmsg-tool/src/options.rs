//! Options that every tool has.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fedmsg::config::LoadOptions;
use tracing::level_filters::LevelFilter;

use crate::color::ColorChoice;

/// Options that every tool has; flatten it into the tool's own.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Common options")]
pub struct CommonOptions {
    /// Read the configuration from this folder instead of /etc/fedmsg.d
    #[arg(long, global = true, value_name = "DIR", env = "FEDMSG_CONFIG_DIR")]
    pub config_dir: Option<PathBuf>,

    /// Say more on stderr; again: still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,

    /// Say less on stderr; errors are always said
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub quiet: u8,

    /// How to write what is said on stderr
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        env = "FEDMSG_LOG_FORMAT"
    )]
    pub log_format: LogFormat,

    /// When to colour [also: NO_COLOR, CLICOLOR_FORCE, TERM=dumb]
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub color: ColorChoice,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl CommonOptions {
    /// What the library is to load: the named folder or the usual one, and the environment.
    pub fn load_options(&self) -> LoadOptions {
        let mut options = LoadOptions::from_process_environment();
        options.folder.clone_from(&self.config_dir);
        options
    }

    /// What is logged by a tool that logs `usual` without `-v` and `-q`.
    pub fn level(&self, usual: LevelFilter) -> LevelFilter {
        const LEVELS: [LevelFilter; 6] = [
            LevelFilter::OFF,
            LevelFilter::ERROR,
            LevelFilter::WARN,
            LevelFilter::INFO,
            LevelFilter::DEBUG,
            LevelFilter::TRACE,
        ];
        let at = LEVELS.iter().position(|level| *level == usual).unwrap_or(2);
        let more = at.saturating_add(self.verbose.into()).saturating_sub(self.quiet.into());
        // Errors are said however quiet it is to be.
        LEVELS[more.clamp(1, LEVELS.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Tool {
        #[command(flatten)]
        common: CommonOptions,
    }

    #[test]
    fn the_level_follows_the_counts_and_never_hides_errors() {
        for (flags, usual, expected) in [
            (vec![], LevelFilter::INFO, LevelFilter::INFO),
            (vec!["-v"], LevelFilter::WARN, LevelFilter::INFO),
            (vec!["-vv"], LevelFilter::INFO, LevelFilter::TRACE),
            (vec!["-vvvvvvv"], LevelFilter::INFO, LevelFilter::TRACE),
            (vec!["-q"], LevelFilter::INFO, LevelFilter::WARN),
            (vec!["-qqqq"], LevelFilter::WARN, LevelFilter::ERROR),
        ] {
            let line = ["tool"].into_iter().chain(flags.iter().copied());
            let tool = Tool::try_parse_from(line).expect("options");
            assert_eq!(tool.common.level(usual), expected, "{flags:?}");
        }
        assert!(Tool::try_parse_from(["tool", "-v", "-q"]).is_err());
    }
}
