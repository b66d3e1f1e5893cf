//! A server for four pages, made for hosts where somebody may be hostile, slow, or many: a request has one short head
//! and no body, a connection carries one request, and lives for some seconds at most. When there are too many, the
//! oldest one has to go, so that whoever comes next is served.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use super::StatusError;
use super::board::{Board, lock};
use crate::metrics::CONTENT_TYPE;

/// Connections that are served at the same time.
const CONNECTIONS_MAX: usize = 16;
/// Threads that serve them: those whose connection was closed end in a moment.
const THREADS_MAX: usize = 2 * CONNECTIONS_MAX;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// How long a connection may take from its beginning to its end.
const TIME_MAX: Duration = Duration::from_secs(5);
/// After the system had no room for another connection.
const AGAIN: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Serves until it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

/// What all connections share.
struct Shared {
    board: Arc<Board>,
    stop: Arc<AtomicBool>,
    /// Oldest first.
    open: Mutex<VecDeque<(u64, TcpStream)>>,
    threads: Mutex<usize>,
    /// A thread has ended.
    ended: Condvar,
}

impl Server {
    pub(super) fn start(address: SocketAddr, board: Arc<Board>) -> Result<Server, StatusError> {
        let bind_error = |error| StatusError::Bind { address, error };
        let listener = TcpListener::bind(address).map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared {
            board,
            stop: Arc::clone(&stop),
            open: Mutex::default(),
            threads: Mutex::default(),
            ended: Condvar::new(),
        });
        let thread = Builder::new().name("fedmsg-status".into());
        thread.spawn(move || accept(&listener, &shared)).map_err(StatusError::Thread)?;
        Ok(Server { address, stop })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; where that fails, it is woken by the next one who comes.
        let _ = TcpStream::connect_timeout(&self.address, AGAIN);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for id in 0.. {
        let connection = listener.accept();
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        match connection {
            Ok((connection, _)) => {
                if shared.take(id, connection).is_err() {
                    shared.board.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "accepting a connection for --status");
                thread::sleep(AGAIN);
            }
        }
    }
}

impl Shared {
    /// Serves a connection on a thread of its own.
    fn take(self: &Arc<Shared>, id: u64, connection: TcpStream) -> io::Result<()> {
        let begun = Instant::now();
        self.wait_for_a_thread()?;
        let mut open = lock(&self.open);
        if open.len() >= CONNECTIONS_MAX
            && let Some((_, oldest)) = open.pop_front()
        {
            self.board.refused.fetch_add(1, Ordering::Relaxed);
            // Its thread sees the end, and ends.
            let _ = oldest.shutdown(Shutdown::Both);
        }
        open.push_back((id, connection.try_clone()?));
        drop(open);
        *lock(&self.threads) += 1;
        let shared = Arc::clone(self);
        let started = Builder::new().name("fedmsg-http".into()).spawn(move || {
            if serve(&connection, &shared.board, begun + TIME_MAX).is_err() {
                shared.board.refused.fetch_add(1, Ordering::Relaxed);
            }
            shared.end(id);
        });
        if let Err(error) = started {
            self.end(id);
            return Err(error);
        }
        Ok(())
    }

    fn end(&self, id: u64) {
        lock(&self.open).retain(|(other, _)| *other != id);
        *lock(&self.threads) -= 1;
        self.ended.notify_one();
    }

    /// Threads whose connection was closed are about to end.
    fn wait_for_a_thread(&self) -> io::Result<()> {
        let is_full = |threads: &mut usize| *threads >= THREADS_MAX;
        let waited = self.ended.wait_timeout_while(lock(&self.threads), AGAIN, is_full);
        match waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(()),
        }
    }
}

/// Answers one request.
fn serve(connection: &TcpStream, board: &Board, deadline: Instant) -> io::Result<()> {
    let response = match read(connection, deadline)? {
        Head::Asks { path, is_head } => {
            board.requests.fetch_add(1, Ordering::Relaxed);
            let mut response = page(&path, board, Instant::now());
            response.is_head = is_head;
            response
        }
        Head::Refused(code, why) => {
            board.refused.fetch_add(1, Ordering::Relaxed);
            Response::text(code, why)
        }
    };
    write(connection, &response.bytes(), deadline)?;
    connection.shutdown(Shutdown::Write)
}

/// What was asked for.
enum Head {
    Asks { path: String, is_head: bool },
    Refused(u16, &'static str),
}

/// Reads the head of a request; of what is behind it nothing.
fn read(mut connection: &TcpStream, deadline: Instant) -> io::Result<Head> {
    let mut bytes = vec![0; HEAD_BYTES_MAX];
    let mut filled = 0;
    while filled < bytes.len() {
        connection.set_read_timeout(Some(left(deadline)?))?;
        match connection.read(&mut bytes[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
        if let Some(head) = parse(&bytes[..filled]) {
            return Ok(head);
        }
    }
    Ok(Head::Refused(431, "the head of this request is too long\n"))
}

/// What a head says; nothing while it is not whole.
fn parse(bytes: &[u8]) -> Option<Head> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(_)) => Some(match (request.method, request.path) {
            (Some(method @ ("GET" | "HEAD")), Some(path)) => {
                let path = path.split('?').next().unwrap_or_default().to_owned();
                Head::Asks { path, is_head: method == "HEAD" }
            }
            _ => Head::Refused(405, "only GET and HEAD are answered here\n"),
        }),
        Err(httparse::Error::TooManyHeaders) => {
            Some(Head::Refused(431, "this request has too many headers\n"))
        }
        Err(_) => Some(Head::Refused(400, "this is no request of HTTP/1\n")),
    }
}

struct Response {
    code: u16,
    content_type: &'static str,
    body: String,
    is_head: bool,
}

impl Response {
    fn text(code: u16, body: impl Into<String>) -> Response {
        Response { code, content_type: TEXT, body: body.into(), is_head: false }
    }

    fn bytes(&self) -> Vec<u8> {
        let Response { code, content_type, body, is_head } = self;
        let reason = match code {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed\r\nAllow: GET, HEAD",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let length = body.len();
        let body = if *is_head { "" } else { body };
        format!(
            "HTTP/1.1 {code} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// One of the four pages, or which there are.
fn page(path: &str, board: &Board, now: Instant) -> Response {
    match path {
        "/metrics" => Response {
            content_type: CONTENT_TYPE,
            ..Response::text(200, board.metrics(now).render())
        },
        "/live" => verdict("live", &board.deaths(now)),
        "/ready" => verdict("ready", &board.obstacles(now)),
        "/status" => Response {
            content_type: JSON,
            ..Response::text(200, format!("{:#}\n", board.status(now)))
        },
        _ => Response::text(404, "there are /metrics, /live, /ready and /status\n"),
    }
}

fn verdict(word: &str, why: &[String]) -> Response {
    match why {
        [] => Response::text(200, format!("{word}\n")),
        why => Response::text(503, format!("not {word}: {}\n", why.join("; "))),
    }
}

fn write(mut connection: &TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        connection.set_write_timeout(Some(left(deadline)?))?;
        match connection.write(bytes)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => bytes = &bytes[written..],
        }
    }
    Ok(())
}

/// The time that is left; an error when there is none.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests;
