//! `fedmsg`: everything that a bus needs, in one command.
#![forbid(unsafe_code)]

mod bench;
mod check;
mod config;
mod consumer;
mod demo;
mod generate;
mod holders;
mod journal;
mod keys;
mod outbox;
mod policy;
mod publish;
mod refused;
mod stream;
mod streams;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fedmsg_tool::{Code, CommonOptions, Fault};

/// A message bus without a broker: publish, watch, and look after it
#[derive(Parser)]
#[command(name = "fedmsg", version = fedmsg_tool::version(), propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: CommonOptions,
}

#[derive(Subcommand)]
enum Command {
    /// Publish messages: keep them here, and hand them to relays
    Publish(publish::Options),
    /// Look after what no relay has yet
    Outbox(outbox::Options),
    /// Show the verified messages of a bus (fedmsg-tail)
    Tail(Box<fedmsg_tail::Options>),
    /// Carry what producers behind firewalls send (fedmsg-relay)
    Relay(fedmsg_relay::Options),
    /// Show who is alive: streams, how far they are, who keeps them, which consumers lag, and who sees another
    /// configuration
    Streams(streams::Options),
    /// Whether all is well: silence, lag, gaps, disk, configuration; for people and for monitoring
    Check(check::Options),
    /// Look at one stream where it is kept; have it begin a new epoch; say that it has ended
    Stream(stream::Options),
    /// Look after what publishers of this host kept
    Journal(journal::Options),
    /// Look after durable consumers: how far they are, and what they could not handle
    Consumer(consumer::Options),
    /// Look after messages that a durable consumer was not given yet
    Refused(refused::Options),
    /// Make keys, show them
    Keys(keys::Options),
    /// Show and check the configuration
    Config(config::Options),
    /// Say who may publish what, and why
    Policy(policy::Options),
    /// Start a whole bus on this machine, with real input
    Demo(demo::Options),
    /// Measure, against bare libzmq in the same run
    Bench(bench::Options),
    /// Write shell completions and man pages
    Generate(generate::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    fedmsg_tool::main(|| run(cli))
}

/// An error of any of the commands, with the exit code that it means.
#[derive(Debug)]
struct AnyError(Box<dyn Fault + Send + Sync>);

impl std::fmt::Display for AnyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for AnyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl Fault for AnyError {
    fn code(&self) -> Code {
        self.0.code()
    }
}

fn any<E: Fault + Send + Sync + 'static>(error: E) -> AnyError {
    AnyError(Box::new(error))
}

fn run(cli: Cli) -> Result<Code, AnyError> {
    let common = &cli.common;
    match cli.command {
        Command::Publish(options) => publish::run(&options, common).map_err(any),
        Command::Outbox(options) => outbox::run(&options, common).map_err(any),
        Command::Tail(options) => fedmsg_tail::run(*options, common).map_err(any),
        Command::Relay(options) => fedmsg_relay::run(&options, common).map_err(any),
        Command::Streams(options) => streams::run(&options, common).map_err(any),
        Command::Check(options) => check::run(&options, common).map_err(any),
        Command::Stream(options) => stream::run(&options, common).map_err(any),
        Command::Journal(options) => journal::run(&options, common).map_err(any),
        Command::Consumer(options) => consumer::run(&options, common).map_err(any),
        Command::Refused(options) => refused::run(&options, common).map_err(any),
        Command::Keys(options) => keys::run(&options, common).map_err(any),
        Command::Config(options) => config::run(&options, common).map_err(any),
        Command::Policy(options) => policy::run(&options, common).map_err(any),
        Command::Demo(options) => demo::run(&options, common).map_err(any),
        Command::Bench(options) => bench::run(&options, common).map_err(any),
        Command::Generate(options) => generate::run(&options).map_err(any),
    }
}
