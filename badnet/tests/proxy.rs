//! The bad network does what it says.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use fedmsg_badnet::{Mode, PATIENCE, Proxy, Way};

/// A connection through a proxy: its two ends.
fn connected() -> (Proxy, TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = format!("tcp://{}", listener.local_addr().expect("an address"));
    let proxy = Proxy::to(&target).expect("a proxy");
    let (near, far) = connect(&proxy, &listener);
    (proxy, listener, near, far)
}

fn connect(proxy: &Proxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let address = proxy.address().trim_start_matches("tcp://");
    let near = TcpStream::connect(address).expect("connected");
    let (far, _) = listener.accept().expect("accepted");
    for stream in [&near, &far] {
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
    }
    (near, far)
}

/// Writes at one end, and reads the same at the other.
fn carries(from: &mut TcpStream, to: &mut TcpStream, text: &str) {
    from.write_all(text.as_bytes()).expect("written");
    reads(to, text);
}

fn reads(stream: &mut TcpStream, text: &str) {
    let mut bytes = vec![0; text.len()];
    stream.read_exact(&mut bytes).expect("read");
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

/// What is read until nothing comes any more, and how that ended.
fn rest(stream: &mut TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes).err().map(|error| error.kind());
    (bytes, ended)
}

#[test]
fn bytes_pass_in_both_directions_and_an_end_is_passed_on() {
    let (proxy, _listener, mut near, mut far) = connected();
    carries(&mut near, &mut far, "question");
    carries(&mut far, &mut near, "answer");
    proxy.wait_passed(Way::Up, 8).expect("in time");
    proxy.wait_passed(Way::Down, 6).expect("in time");
    assert_eq!((proxy.passed(Way::Up), proxy.passed(Way::Down)), (8, 6));
    far.shutdown(std::net::Shutdown::Write).expect("half closed");
    assert_eq!(rest(&mut near), (Vec::new(), None));
    carries(&mut near, &mut far, "still open");
}

#[test]
fn one_direction_stalls_and_heals_and_nothing_is_lost() {
    let (proxy, _listener, mut near, mut far) = connected();
    proxy.set(Way::Down, Mode::Stall);
    far.write_all(b"late").expect("written");
    // What came later by the other direction shows that this one stands still.
    carries(&mut near, &mut far, "on time");
    assert_eq!(proxy.passed(Way::Down), 0);
    near.set_nonblocking(true).expect("set");
    let nothing = near.read(&mut [0; 4]).map_err(|error| error.kind());
    assert_eq!(nothing, Err(ErrorKind::WouldBlock));
    near.set_nonblocking(false).expect("set");
    proxy.heal();
    reads(&mut near, "late");
}

#[test]
fn a_connection_is_cut_in_the_middle_and_the_next_one_counts_anew() {
    let (proxy, listener, mut near, mut far) = connected();
    carries(&mut far, &mut near, "whole");
    proxy.set(Way::Down, Mode::CutAfter(3));
    far.write_all(b"broken").expect("written");
    assert_eq!(rest(&mut near).0, b"bro");
    proxy.wait_open(0).expect("in time");
    let (mut near, mut far) = connect(&proxy, &listener);
    far.write_all(b"again").expect("written");
    assert_eq!(rest(&mut near).0, b"aga");
    proxy.heal();
    let (mut near, mut far) = connect(&proxy, &listener);
    carries(&mut far, &mut near, "whole again");
    proxy.wait_accepted(3).expect("in time");
}

#[test]
fn a_connection_is_reset_at_both_ends() {
    let (proxy, listener, mut near, mut far) = connected();
    carries(&mut near, &mut far, "fine");
    proxy.set_both(Mode::Reset);
    assert_eq!(rest(&mut near).1, Some(ErrorKind::ConnectionReset));
    assert_eq!(rest(&mut far).1, Some(ErrorKind::ConnectionReset));
    let (mut near, _) = connect(&proxy, &listener);
    assert_eq!(rest(&mut near).1, Some(ErrorKind::ConnectionReset), "the next one, too");
    proxy.heal();
    let (mut near, mut far) = connect(&proxy, &listener);
    carries(&mut near, &mut far, "fine again");
}

#[test]
fn bytes_drip_one_by_one_until_it_heals() {
    let (proxy, _listener, mut near, mut far) = connected();
    let pause = Duration::from_millis(5);
    proxy.set(Way::Up, Mode::Drip(pause));
    let start = Instant::now();
    carries(&mut near, &mut far, "slowly");
    assert!(start.elapsed() >= 5 * pause, "{:?}", start.elapsed());
    // A drip that would take an hour, and does not.
    proxy.set(Way::Up, Mode::Drip(Duration::from_secs(600)));
    near.write_all(b"at last").expect("written");
    proxy.wait_passed(Way::Up, 7).expect("in time");
    proxy.heal();
    reads(&mut far, "at last");
}

#[test]
fn a_target_that_is_not_there_is_an_end_and_no_hang() {
    let (proxy, listener, ..) = connected();
    drop(listener);
    let address = proxy.address().trim_start_matches("tcp://");
    let mut near = TcpStream::connect(address).expect("the proxy is there");
    near.set_read_timeout(Some(PATIENCE)).expect("set");
    assert!(rest(&mut near).0.is_empty());
}

#[test]
fn only_tcp_is_carried() {
    let error = Proxy::to("ipc:///run/x").map(drop).map_err(|error| error.kind());
    assert_eq!(error, Err(ErrorKind::InvalidInput));
}
