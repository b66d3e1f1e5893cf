//! How a daemon is, for whoever asks over HTTP: `/metrics`, `/live`, `/ready`, `/status`.

mod address;
mod board;
mod http;
mod outbox;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

pub use address::{AddressError, StatusAddress};
pub use board::{Details, Report, State};

use self::board::Board;
use self::http::Server;
use self::outbox::OutboxLooks;
use crate::progress::Progress;
use crate::service::Service;

/// How often what is shown is made anew.
const FRESH: Duration = Duration::from_millis(500);

/// What every daemon is told of showing how it is; flatten it into the daemon's own options.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Status")]
pub struct StatusOptions {
    /// Serve /metrics, /live, /ready and /status over HTTP at this port of 127.0.0.1, or at IP:PORT [default: nowhere]
    #[arg(long, value_name = "ADDRESS", env = "FEDMSG_STATUS", value_parser = StatusAddress::parse)]
    pub status: Option<StatusAddress>,

    /// Let --status be an address that other hosts reach: everybody there may read it
    #[arg(long)]
    pub status_beyond_loopback: bool,
}

/// Why a daemon cannot show how it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// Others would see it, and nobody said that they may.
    #[error(
        "--status {0} can be reached from other hosts, and whoever reaches it may read it; say --status-beyond-loopback if that is meant"
    )]
    Beyond(SocketAddr),
    /// The address cannot be bound.
    #[error("--status {address}: {error}")]
    Bind {
        /// Which one.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// A thread cannot be started.
    #[error("starting a thread for --status: {0}")]
    Thread(std::io::Error),
}

/// A daemon, as the service manager and whoever asks over HTTP see it. Its main loop owns it, and calls
/// [`turn`](Daemon::turn) each time that it has gone round.
#[derive(Debug)]
pub struct Daemon {
    progress: Progress,
    service: Service,
    board: Arc<Board>,
    shown: Option<Instant>,
    server: Option<Server>,
    _outbox: Option<OutboxLooks>,
}

impl Daemon {
    /// Binds the address, if one is given. `program` and `version` are shown, and `state_dir` is where the outbox of
    /// this host is looked for.
    pub fn start(
        options: &StatusOptions,
        program: &'static str,
        state_dir: PathBuf,
    ) -> Result<Daemon, StatusError> {
        let progress = Progress::new(Instant::now());
        let board = Arc::new(Board::new(program, progress.clone()));
        let server = match &options.status {
            Some(address) => {
                let address = address.0;
                if !(address.ip().is_loopback() || options.status_beyond_loopback) {
                    return Err(StatusError::Beyond(address));
                }
                Some(Server::start(address, Arc::clone(&board))?)
            }
            None => None,
        };
        let outbox = server.is_some().then(|| OutboxLooks::start(Arc::clone(&board), state_dir));
        let outbox = outbox.transpose().map_err(StatusError::Thread)?;
        let service = Service::from_environment();
        Ok(Daemon { progress, service, board, shown: None, server, _outbox: outbox })
    }

    /// Whether anybody is interested: a service manager, or whoever asks over HTTP.
    pub fn is_watched(&self) -> bool {
        self.server.is_some() || self.service.is_there()
    }

    /// Where it is served.
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(Server::address)
    }

    /// The parts that have to move.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The longest that the main loop may wait.
    pub fn pause(&self) -> Duration {
        self.service.pause()
    }

    /// What is shown in more words, made when somebody asks, on a thread of the server.
    pub fn set_details(&self, details: Details) {
        self.board.set_details(details);
    }

    /// Sockets are bound, or what a reload brought is in force: it is told and shown.
    pub fn ready(&mut self, report: Report) {
        let line = report.line();
        self.board.show(report);
        self.service.ready(&line);
    }

    /// Shows that it is going to end, and tells it.
    pub fn stopping(&mut self) {
        self.board.stopping();
        self.service.stopping();
    }

    /// The main loop has gone round: a sign of life. Says whether it is time to [show](Daemon::show) something new.
    pub fn turn(&mut self, now: Instant) -> bool {
        self.service.feed(&self.progress, now);
        let is_due = self.shown.is_none_or(|at| now.saturating_duration_since(at) >= FRESH);
        is_due && self.is_watched()
    }

    /// Shows how it is now.
    pub fn show(&mut self, now: Instant, report: Report) {
        self.shown = Some(now);
        self.service.status(now, || report.line());
        self.board.show(report);
    }
}
