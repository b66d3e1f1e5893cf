//! Clients as they should be, and as they should not.

use super::*;
use crate::metrics::{Metrics, Source};
use crate::progress::{Progress, STUCK_AFTER};
use crate::status::{Report, State};

struct One;

impl Source for One {
    fn put(&self, metrics: &mut Metrics) {
        metrics.gauge("fedmsg_test", "One", 1);
    }
}

fn report(obstacles: &[&str]) -> Report {
    Report {
        identity: Some("relay.one".into()),
        state: State { digest: "abc".into(), error: None },
        obstacles: obstacles.iter().map(|&text| text.into()).collect(),
        degraded: vec!["an endpoint is down".into()],
        summary: "3 streams".into(),
        members: serde_json::Map::new(),
        metrics: Box::new(One),
    }
}

fn served() -> (Server, Arc<Board>) {
    let board = Arc::new(Board::new("test", Progress::new(Instant::now())));
    let server = Server::start(([127, 0, 0, 1], 0).into(), Arc::clone(&board)).expect("bound");
    (server, board)
}

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address()).expect("connected")
}

/// What comes of these bytes, up to the end of the connection.
fn ask(server: &Server, request: &[u8]) -> String {
    let mut connection = connect(server);
    // It may have been refused before all of it was read.
    let _ = connection.write_all(request);
    let mut bytes = Vec::new();
    let _ = connection.read_to_end(&mut bytes);
    String::from_utf8(bytes).expect("text")
}

fn get(server: &Server, path: &str) -> String {
    ask(server, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
}

#[test]
fn ready_says_what_is_in_the_way() {
    let (server, board) = served();
    let code = |path: &str| get(&server, path)[9..12].to_owned();
    assert!(get(&server, "/ready").ends_with("not ready: it starts\n"));
    assert_eq!(code("/live"), "200");
    board.show(report(&[]));
    assert!(get(&server, "/ready").ends_with("\r\n\r\nready\n"));
    board.show(report(&["the disk is full"]));
    assert!(get(&server, "/ready").ends_with("not ready: the disk is full\n"));
    assert_eq!(code("/ready"), "503");
    board.show(report(&[]));
    board.stopping();
    assert!(get(&server, "/ready").ends_with("not ready: it stops\n"));
    assert_eq!(code("/live"), "200");
}

#[test]
fn a_part_that_hangs_is_neither_live_nor_ready() {
    let start = Instant::now();
    let progress = Progress::new(start);
    let board = Board::new("test", progress.clone());
    let _writer = progress.part("writer", start);
    board.show(report(&[]));
    let late = start + STUCK_AFTER + Duration::from_secs(1);
    let body = |path, now| page(path, &board, now).body;
    assert_eq!(body("/live", start), "live\n");
    assert_eq!(body("/live", late), "not live: writer has not moved for 11.0 s\n");
    assert_eq!(body("/ready", late), "not ready: writer has not moved for 11.0 s\n");
    assert!(body("/metrics", late).contains("\nfedmsg_live 0.0\n"));
    assert!(body("/metrics", late).contains("fedmsg_progress_age_seconds{part=\"writer\"} 11.0\n"));
}

#[test]
fn metrics_and_status_show_the_report() {
    let (server, board) = served();
    board.show(report(&["no disk"]));
    let metrics = get(&server, "/metrics");
    assert!(metrics.contains(&format!("Content-Type: {CONTENT_TYPE}\r\n")), "{metrics}");
    for line in ["fedmsg_test 1.0", "fedmsg_config_info{digest=\"abc\"} 1", "fedmsg_ready 0.0"] {
        assert!(metrics.contains(&format!("\n{line}\n")), "{line}: {metrics}");
    }
    assert!(metrics.ends_with("\n# EOF\n"));
    let status = get(&server, "/status?pretty");
    let (_, body) = status.split_once("\r\n\r\n").expect("a body");
    let status: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(status["identity"], "relay.one");
    assert_eq!(status["ready"], false);
    assert_eq!(status["degraded"], serde_json::json!(["no disk", "an endpoint is down"]));
}

#[test]
fn what_is_no_request_for_a_page_is_refused() {
    let (server, board) = served();
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(HEADERS_MAX + 1));
    for (request, code) in [
        ("GET /nothing HTTP/1.1\r\n\r\n", "404"),
        ("POST /ready HTTP/1.1\r\nContent-Length: 9\r\n\r\n", "405"),
        ("\0\u{1}\u{2} garbage\r\n\r\n", "400"),
        ("GET / HTTP/9.9\r\n\r\n", "400"),
        (&*many, "431"),
    ] {
        let answer = ask(&server, request.as_bytes());
        assert_eq!(answer.get(9..12), Some(code), "{request:?}: {answer}");
    }
    // What was not read may take the answer with it.
    let answer = ask(&server, long.as_bytes());
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let head = ask(&server, b"HEAD /live HTTP/1.0\r\n\r\n");
    assert!(head.contains("Content-Length: 5\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(board.refused.load(Ordering::Relaxed) >= 5);
}

#[test]
fn those_who_hold_connections_keep_nobody_out() {
    let (server, _board) = served();
    let slow: Vec<TcpStream> = (0..10 * CONNECTIONS_MAX)
        .map(|_| {
            let mut connection = connect(&server);
            let _ = connection.write_all(b"GET /live HT");
            connection
        })
        .collect();
    assert!(get(&server, "/live").ends_with("live\n"), "the next one is served");
    drop(slow);
}

#[test]
fn a_connection_ends_with_its_time() {
    let board = Board::new("test", Progress::new(Instant::now()));
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    let mut client = TcpStream::connect(address).expect("connected");
    client.write_all(b"GET /li").expect("sent");
    let (connection, _) = listener.accept().expect("accepted");
    let error = serve(&connection, &board, Instant::now()).expect_err("its time is over");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}
