//! Without any configuration.

use fedmsg::config::LoadOptions;
use fedmsg::{Draft, Publisher};
use serde_json::json;

use crate::harness::{Program, command};
use crate::publishing::subscribed;

/// The folder of state is root's own otherwise, not the one in HOME.
const VARIABLES: [&str; 6] =
    ["FEDMSG_STATE_DIR", "HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "TMPDIR"];

#[test]
fn relay_tail_and_a_publisher_find_each_other() {
    let root = tempfile::tempdir().expect("a folder");
    let environment: Vec<(String, String)> = VARIABLES
        .iter()
        .map(|name| {
            let folder = root.path().join(name);
            std::fs::create_dir(&folder).expect("a folder");
            ((*name).to_owned(), folder.to_string_lossy().into_owned())
        })
        .collect();
    let start = |name, arguments: &[&str]| {
        let mut program = command(name);
        program.envs(environment.clone()).args(arguments);
        Program::start(program)
    };
    let mut relay = start("fedmsg-relay", &[]);
    relay.says(" ready ");
    let mut tail = start("fedmsg-tail", &["--json", "-v"]);
    tail.says("relay.local/0 is live");
    let load = || LoadOptions { environment: environment.clone(), ..LoadOptions::default() };
    let direct = Publisher::builder().load(load()).build().expect("a publisher");
    subscribed(&direct, 1);
    let relayed = Publisher::builder().load(load()).relays_only().build().expect("a publisher");
    for (publisher, endpoint) in [(&direct, "dev.local"), (&relayed, "relay.local")] {
        publisher.publish(Draft::new("log.line").body(&json!({}))).wait().expect("published");
        let line = tail.json();
        assert_eq!((&line["signer"], &line["verdict"]), (&json!("dev.local"), &json!("verified")));
        assert_eq!(line["endpoint"], endpoint);
    }
    let runtime = root.path().join("XDG_RUNTIME_DIR/fedmsg");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(runtime.metadata().expect("there").permissions().mode() & 0o777, 0o700);
    relay.term();
    assert_eq!(relay.end().0, 0);
}
