//! A PostgreSQL server for the tests alone: its own data, on a socket in its own folder.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

/// With this variable set, a machine without PostgreSQL fails the tests.
const REQUIRED: &str = "FEDMSG_TEST_POSTGRES";

/// A server that runs until it is dropped, or until this process ends in whatever way.
pub struct Server {
    folder: TempDir,
    supervisor: Option<Child>,
    schemas: AtomicU32,
}

/// The server of all cases. None where PostgreSQL is not installed.
pub fn shared() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(Server::new).as_ref()
}

/// The folder of the programs, from the newest version on.
fn programs() -> Option<PathBuf> {
    let asked = Command::new("pg_config").arg("--bindir").output().ok();
    let asked = asked.and_then(|output| String::from_utf8(output.stdout).ok());
    let asked = asked.map(|folder| PathBuf::from(folder.trim()));
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut installed: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    installed.sort();
    let all = asked.into_iter().chain(installed.into_iter().rev());
    all.into_iter()
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

/// Starts the server, and stops it when its standard input says so or ends, as it does when the test was killed.
/// Then the folder goes, too.
const SUPERVISE: &str = r#"
    "$1/postgres" -D "$2/data" -c listen_addresses= -c unix_socket_directories="$2" \
        -c fsync=on -c max_connections=60 >"$2/log" 2>&1 </dev/null &
    server=$!
    read -r word
    kill -QUIT "$server"
    wait "$server"
    [ "$word" = keep ] || rm -rf "$2"
"#;

impl Server {
    pub fn new() -> Option<Server> {
        let Some(programs) = programs() else {
            crate::not_run("no PostgreSQL server");
            assert!(std::env::var_os(REQUIRED).is_none(), "{REQUIRED} asks for PostgreSQL");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("fedmsg-pg-").tempdir().expect("a folder");
        if is_root() {
            std::os::unix::fs::chown(folder.path(), Some(65_534), Some(65_534))
                .expect("given away");
        }
        let made = unprivileged(&programs.join("initdb"))
            .args(["--auth=trust", "--username=fedmsg", "--encoding=UTF8", "--no-sync", "-D"])
            .arg(folder.path().join("data"))
            .output()
            .expect("initdb");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut server = Server { folder, supervisor: None, schemas: AtomicU32::new(0) };
        server.start();
        Some(server)
    }

    pub fn start(&mut self) {
        let programs = programs().expect("installed: it ran before");
        let mut command = unprivileged(Path::new("sh"));
        command.args(["-c", SUPERVISE, "sh"]).arg(programs).arg(self.folder.path());
        self.supervisor = Some(command.stdin(Stdio::piped()).spawn().expect("a supervisor"));
        // Asks again until the server answers: each try is one connection.
        let url = self.url();
        let ready = (0..2_000).any(|_| {
            let up = try_psql(&url, "SELECT 1").is_ok();
            up || (std::thread::yield_now(), false).1
        });
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        assert!(ready, "the server does not start: {log}");
    }

    /// Ends the server as a crash does: nothing is written that was not written before.
    pub fn stop(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            let mut input = supervisor.stdin.take().expect("a pipe");
            input.write_all(b"keep\n").expect("the supervisor listens");
            supervisor.wait().expect("ended");
        }
    }

    pub fn url(&self) -> String {
        let socket = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://fedmsg@{socket}/postgres")
    }

    /// The address of a new, empty schema.
    pub fn schema(&self) -> String {
        let name = format!("case_{}", self.schemas.fetch_add(1, Ordering::Relaxed));
        psql(&self.url(), &format!("CREATE SCHEMA {name}"));
        format!("{}?options=-csearch_path%3D{name}", self.url())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs statements.
pub fn psql(url: &str, script: &str) {
    try_psql(url, script).unwrap_or_else(|error| panic!("{script}: {error}"));
}

fn try_psql(url: &str, script: &str) -> Result<(), String> {
    let psql = programs().expect("installed").join("psql");
    let output = Command::new(psql)
        .args([
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--dbname",
            url,
            "--command",
            script,
        ])
        .output()
        .expect("psql");
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// PostgreSQL refuses to run as root.
fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command.current_dir("/");
    command
}

pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
