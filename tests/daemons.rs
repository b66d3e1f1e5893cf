//! Daemons that say how they are: over HTTP, and to the service manager, whose socket is one of the test's own.

mod documents;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::full_disk::Small;
use crate::harness::{
    Bus, PATIENCE, Program, atomically, command, free_port, not_run, succeeds, trace, until,
};
use crate::publishing::publish;

/// The time in which a sign of life is expected.
const WATCHDOG: Duration = Duration::from_secs(4);
/// Between two requests for the same.
const BETWEEN: Duration = Duration::from_millis(20);

/// A daemon with its pages.
struct Served {
    program: Program,
    port: u16,
}

impl Served {
    fn start(bus: &Bus, name: &str, arguments: &[&str], manager: Option<&Manager>) -> Served {
        Served::start_in(&bus.etc(), name, arguments, manager)
    }

    fn start_in(
        folder: &Path,
        name: &str,
        arguments: &[&str],
        manager: Option<&Manager>,
    ) -> Served {
        let port = free_port();
        let mut command = command(name);
        command.arg("--config-dir").arg(folder);
        command.args(["-v", "--status", &port.to_string()]).args(arguments);
        if let Some(manager) = manager {
            command.env("NOTIFY_SOCKET", &manager.path);
            command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        }
        let mut program = Program::start(command);
        program.says("status is served");
        Served { program, port }
    }

    /// The code and the body of a page; nothing when nobody answers.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.get(9..12)?.parse().ok()?, body.to_owned()))
    }

    /// Waits until a page answers so.
    fn says(&self, path: &str, code: u16, text: &str) -> String {
        let fits = |(is, body): &(u16, String)| *is == code && body.contains(text);
        let what = format!("{path} with {code} and {text:?}");
        self.until(&what, || self.get(path), fits).1
    }

    /// Asks again and again. Not as fast as it can: each connection takes a port away for a minute.
    fn until<T: std::fmt::Debug>(
        &self,
        what: &str,
        ask: impl Fn() -> Option<T>,
        fits: impl Fn(&T) -> bool,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = ask();
            assert!(Instant::now() < deadline, "waited for {what}; the last answer: {answer:?}");
            match answer.filter(&fits) {
                Some(answer) => return answer,
                None => std::thread::sleep(BETWEEN),
            }
        }
    }

    fn status(&self) -> Value {
        let (code, body) = self.get("/status").expect("an answer");
        assert_eq!(code, 200);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{body}: {error}"))
    }

    /// A metric without labels, or with these.
    fn metric(&self, name: &str) -> f64 {
        let (_, body) = self.get("/metrics").expect("an answer");
        let value = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("there is no {name} in\n{body}"));
        value.parse().expect("a number")
    }

    /// Waits until a metric is as much as that.
    fn reaches(&self, name: &str, value: f64) {
        self.until(name, || Some(self.metric(name)), |is| *is >= value);
    }

    fn hangup(&self) {
        let id = self.program.id().to_string();
        assert!(succeeds(Command::new("kill").args(["-HUP", &id])));
    }
}

/// The service manager, as far as a daemon sees it.
struct Manager {
    path: std::path::PathBuf,
    socket: UnixDatagram,
}

impl Manager {
    fn new(bus: &Bus) -> Manager {
        let path = bus.path("notify.sock");
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Manager { path, socket }
    }

    /// The next message that is neither a sign of life nor a status alone.
    fn next(&self) -> String {
        loop {
            let message = self.any().expect("it tells something");
            let is_said = |line: &str| !line.starts_with("STATUS=") && line != "WATCHDOG=1";
            if message.lines().any(is_said) {
                return message;
            }
        }
    }

    /// Waits for a message with this line.
    fn until(&self, line: &str) {
        while !self.any().expect("it tells something").lines().any(|said| said == line) {}
    }

    fn any(&self) -> Option<String> {
        let mut bytes = [0; 4_096];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).expect("text"))
    }

    /// What is there now.
    fn drain(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).expect("set");
        let all = std::iter::from_fn(|| self.any()).collect();
        self.socket.set_nonblocking(false).expect("set");
        all
    }
}

#[test]
fn a_relay_shows_what_it_carries() {
    let bus = Bus::new(&["relay.one"]);
    bus.key("a.x");
    let mut relay = Served::start(&bus, "fedmsg-relay", &[], None);
    relay.says("/ready", 200, "ready");
    relay.says("/live", 200, "live");
    let publisher = bus.publisher("a.x");
    for n in 1..=20 {
        publish(&publisher, "a.n", n);
    }
    assert!(publisher.flush(PATIENCE), "the relay has everything");
    relay.reaches("fedmsg_relay_carried_total", 20.0);
    assert!(relay.metric("fedmsg_log_records_total") >= 20.0);
    assert!(relay.metric("fedmsg_log_bytes") > 0.0);
    let status = relay.status();
    assert_eq!(status["identity"], "relay.one");
    assert_eq!((&status["ready"], &status["live"]), (&true.into(), &true.into()));
    assert_eq!(status["degraded"], serde_json::json!([]));
    assert_eq!(status["config"]["error"], Value::Null);
    let streams = status["streams"]["newest"].as_array().expect("streams");
    let own =
        streams.iter().find(|one| one["stream"].as_str().is_some_and(|s| s.starts_with("a.x/")));
    assert_eq!(own.expect("the stream")["i"], 20);
    let digest = status["config"]["digest"].as_str().expect("a digest");
    assert_eq!(relay.metric(&format!("fedmsg_config_info{{digest=\"{digest}\"}}")), 1.0);
    relay.program.term();
    assert_eq!(relay.program.end().0, 0);
}

#[test]
fn nobody_beyond_loopback_sees_it_unless_that_is_meant() {
    let bus = Bus::new(&["relay.one"]);
    let address = format!("0.0.0.0:{}", free_port());
    let mut relay = bus.program("fedmsg-relay");
    relay.args(["--status", &address]);
    let (code, _, errors) = Program::start(relay).end();
    assert_eq!(code, 1);
    assert!(errors.iter().any(|line| line.contains("--status-beyond-loopback")), "{errors:?}");
    let mut relay = bus.program("fedmsg-relay");
    relay.args(["--status", &address, "--status-beyond-loopback"]);
    Program::start(relay).says(" ready ");
}

#[test]
fn the_service_manager_hears_of_start_reload_and_end() {
    let bus = Bus::new(&["relay.one"]);
    bus.key("a.x");
    let manager = Manager::new(&bus);
    let mut relay = Served::start(&bus, "fedmsg-relay", &[], Some(&manager));
    let ready = manager.next();
    assert_eq!(ready.lines().next(), Some("READY=1"), "{ready}");
    assert!(ready.contains("\nSTATUS="), "{ready}");
    // Whoever starts behind it connects at once: its sockets are bound.
    let submit = fs::read_to_string(bus.entry_path("relay.one")).expect("its entry");
    let port = submit.split("submit = [\"tcp://127.0.0.1:").nth(1).expect("an address");
    let port: u16 = port.split('"').next().expect("a port").parse().expect("a port");
    TcpStream::connect(("127.0.0.1", port)).expect("bound");
    manager.until("WATCHDOG=1");

    atomically(
        &bus.path("etc/policy.d/50-deny.toml"),
        "[[deny]]\nservice = \"*\"\ntopics = [\"{prefix}.{env}.a.secret\"]\n",
    );
    relay.hangup();
    let reloading = manager.next();
    assert_eq!(reloading.lines().next(), Some("RELOADING=1"), "{reloading}");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.next().lines().next(), Some("READY=1"));
    relay.program.says("configuration in force");

    fs::write(bus.path("etc/60-broken.toml"), "[bus").expect("written");
    relay.hangup();
    manager.until("RELOADING=1");
    let ready = manager.next();
    assert_eq!(ready.lines().next(), Some("READY=1"), "the last good one is in force: {ready}");
    assert!(ready.contains("60-broken.toml"), "and it is said why: {ready}");
    relay.says("/metrics", 200, "\nfedmsg_config_broken 1.0\n");
    relay.says("/ready", 200, "ready");

    relay.program.term();
    manager.until("STOPPING=1");
    assert_eq!(relay.program.end().0, 0);
}

/// A disk that answers late, as long as it is there: strace stops whoever syncs.
struct SlowDisk(Child);

impl SlowDisk {
    fn under(program: &Program) -> SlowDisk {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync"]);
        strace.args(["-e", "inject=fdatasync,fsync:delay_enter=120000000"]);
        strace.args(["-p", &program.id().to_string()]);
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = strace.spawn().expect("strace runs");
        let traced = format!("/proc/{}/status", program.id());
        until(|| {
            let status = fs::read_to_string(&traced).expect("it lives");
            let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
            (tracer.trim() != "0").then_some(())
        });
        SlowDisk(child)
    }
}

/// It answers again, also when the test has failed.
impl Drop for SlowDisk {
    fn drop(&mut self) {
        succeeds(Command::new("kill").args(["-INT", &self.0.id().to_string()]));
        let _ = self.0.wait();
    }
}

#[test]
fn a_relay_whose_disk_hangs_gives_no_sign_of_life_and_says_why() {
    if !trace::available() {
        return not_run("strace", "strace is not here or may not trace, so no disk hangs");
    }
    let bus = Bus::new(&["relay.one"]);
    bus.key("a.x");
    let manager = Manager::new(&bus);
    let relay = Served::start(&bus, "fedmsg-relay", &[], Some(&manager));
    relay.says("/ready", 200, "ready");
    let publisher = bus.publisher("a.x");
    publish(&publisher, "a.n", 1);
    assert!(publisher.flush(PATIENCE), "the disk answers");
    let disk = SlowDisk::under(&relay.program);
    publish(&publisher, "a.n", 2);
    relay.says("/live", 503, "writer has not moved");
    relay.says("/ready", 503, "writer has not moved");
    assert_eq!(relay.status()["live"], false, "everything is answered all the same");
    // Whatever was told before it hung is taken out, and then a whole time of the watchdog goes by.
    manager.drain();
    let age = "fedmsg_progress_age_seconds{part=\"writer\"}";
    relay.reaches(age, relay.metric(age) + WATCHDOG.as_secs_f64());
    let told = manager.drain();
    assert!(!told.iter().any(|message| message.contains("WATCHDOG=1")), "{told:?}");
    drop(disk);
    relay.says("/ready", 200, "ready");
    manager.until("WATCHDOG=1");
    assert!(publisher.flush(PATIENCE), "it goes on");
}

#[test]
fn a_relay_whose_disk_is_full_lives_and_is_not_ready_until_there_is_room() {
    let bus = Bus::new(&["relay.one"]);
    bus.key("log.one");
    let Some(small) = Small::mount(bus.path("small")) else { return };
    let other = bus.copy("other");
    let state = format!("[bus]\nstate_dir = {:?}\n", bus.path("small"));
    fs::write(other.join("15-state.toml"), state).expect("written");
    let relay = Served::start_in(&other, "fedmsg-relay", &[], None);
    relay.says("/ready", 200, "ready");
    let filling = small.point.join("filling");
    let mut file = fs::File::create(&filling).expect("made");
    while file.write_all(&[0; 4_096]).is_ok() {}
    drop(file);
    let mut command = bus.program("fedmsg");
    command.env("FEDMSG_IDENTITY", "log.one");
    command.args(["publish", "log.n", "--wait", "stored", "--timeout", "2s"]);
    let mut command = Program::start(command);
    command.tell(&"x".repeat(600_000));
    assert_eq!(command.end().0, 75, "the relay takes nothing");
    relay.says("/ready", 503, "the disk takes nothing");
    relay.says("/live", 200, "live");
    assert_eq!(relay.metric("fedmsg_log_degraded"), 1.0);
    fs::remove_file(&filling).expect("removed");
    // Nobody puts anything: it finds out by itself.
    relay.says("/ready", 200, "ready");
    assert_eq!(relay.metric("fedmsg_log_degraded"), 0.0);
}

#[test]
fn a_tail_is_ready_when_its_streams_are_live() {
    let bus = Bus::with(&["app.one"]);
    let manager = Manager::new(&bus);
    let mut tail = Served::start(&bus, "fedmsg-tail", &["--json"], Some(&manager));
    assert_eq!(manager.next().lines().next(), Some("READY=1"));
    tail.says("/ready", 503, "no endpoint is connected");
    let publisher = bus.publisher("app.one");
    crate::publishing::subscribed(&publisher, 1);
    publish(&publisher, "app.n", 1);
    tail.program.json();
    tail.says("/ready", 200, "ready");
    tail.reaches("fedmsg_tail_messages_total", 1.0);
    assert_eq!(tail.metric("fedmsg_subscriber_lost_total"), 0.0);
    publisher.close();
    // Meanwhile the service manager reads nothing, and nobody waits for it.
    tail.says("/status", 200, "endpoints that are not heard: app.one");
    tail.hangup();
    manager.until("RELOADING=1");
    assert_eq!(manager.next().lines().next(), Some("READY=1"));
    manager.until("WATCHDOG=1");
    tail.program.term();
    manager.until("STOPPING=1");
    assert_eq!(tail.program.end().0, 143);
}

#[test]
fn a_tail_whose_reader_takes_nothing_is_not_live() {
    let bus = Bus::with(&["app.one"]);
    let port = free_port();
    let mut command = bus.program("fedmsg-tail");
    command.args(["--raw", "--status", &port.to_string()]);
    // Nobody reads this pipe before the test does.
    command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null());
    let mut child = command.spawn().expect("started");
    let publisher = bus.publisher("app.one");
    crate::publishing::subscribed(&publisher, 1);
    for n in 0..500 {
        publish(&publisher, "app.n", n);
    }
    let mut reader = child.stdout.take().expect("piped");
    let served = Served { program: Program::start(Command::new("true")), port };
    served.says("/live", 503, "printer has not moved");
    let reading = std::thread::spawn(move || reader.read_to_end(&mut Vec::new()));
    served.says("/live", 200, "live");
    child.kill().expect("killed");
    child.wait().expect("dead");
    reading.join().expect("read").expect("to its end");
}

#[test]
fn those_who_hold_connections_keep_nobody_out() {
    let bus = Bus::new(&["relay.one"]);
    let relay = Served::start(&bus, "fedmsg-relay", &[], None);
    relay.says("/ready", 200, "ready");
    let hostile: Vec<TcpStream> = (0..200)
        .map(|n| {
            let mut stream = TcpStream::connect(("127.0.0.1", relay.port)).expect("connected");
            // Some say nothing, some begin, some never end.
            let _ = match n % 3 {
                0 => Ok(()),
                1 => stream.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: "),
                _ => stream.write_all(&[b'x'; 100_000]),
            };
            stream
        })
        .collect();
    relay.says("/ready", 200, "ready");
    assert!(relay.metric("fedmsg_status_refused_total") > 100.0);
    drop(hostile);
}
