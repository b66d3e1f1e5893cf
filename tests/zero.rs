//! Without any configuration.

use std::path::Path;

use fedmsg::config::LoadOptions;
use fedmsg::{Draft, Publisher};
use serde_json::json;

use crate::harness::{Program, command};
use crate::publishing::subscribed;

/// The folder of state is root's own otherwise, not the one in HOME.
const VARIABLES: [&str; 6] =
    ["FEDMSG_STATE_DIR", "HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "TMPDIR"];

/// A user's folders, below this one.
fn environment(root: &Path) -> Vec<(String, String)> {
    let variable = |name: &&str| {
        let folder = root.join(name);
        std::fs::create_dir(&folder).expect("a folder");
        ((*name).to_owned(), folder.to_string_lossy().into_owned())
    };
    VARIABLES.iter().map(variable).collect()
}

fn start(environment: &[(String, String)], name: &str, arguments: &[&str]) -> Program {
    let mut program = command(name);
    program.envs(environment.iter().cloned()).args(arguments);
    Program::start(program)
}

#[test]
fn relay_tail_and_a_publisher_find_each_other() {
    let root = tempfile::tempdir().expect("a folder");
    let environment = environment(root.path());
    let start = |name, arguments: &[&str]| start(&environment, name, arguments);
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

#[test]
fn nobody_is_warned_of_a_service_that_does_not_have_to_run() {
    let root = tempfile::tempdir().expect("a folder");
    let environment = environment(root.path());
    let mut relay = start(&environment, "fedmsg-relay", &[]);
    relay.says(" ready ");
    // An endpoint is reported down after three seconds.
    let (code, _, errors) = start(&environment, "fedmsg-tail", &["--timeout", "4s"]).end();
    assert_eq!((code, errors), (4, vec![]));
    relay.kill();
    let (code, _, errors) = start(&environment, "fedmsg-tail", &["--timeout", "4s"]).end();
    assert!(code == 4 && errors.iter().any(|line| line.contains("relay.local")), "{errors:?}");
}

#[test]
fn the_relay_has_the_past_also_of_those_who_publish_on_sockets_of_their_own() {
    let root = tempfile::tempdir().expect("a folder");
    let environment = environment(root.path());
    let mut relay = start(&environment, "fedmsg-relay", &[]);
    relay.says(" ready ");
    let load = LoadOptions { environment: environment.clone(), ..LoadOptions::default() };
    let direct = Publisher::builder().load(load).build().expect("a publisher");
    direct.publish(Draft::new("log.line").body(&json!({"n": 1}))).wait().expect("published");
    direct.close();
    let mut publish = start(&environment, "fedmsg", &["publish", "log.line", "{\"n\":2}"]);
    assert_eq!(publish.end().0, 0);
    let past = ["--all", "--no-follow", "--format", "%m"];
    let (code, lines, errors) = start(&environment, "fedmsg-tail", &past).end();
    assert_eq!(
        (code, &lines[..]),
        (0, &["{\"n\":1}".into(), "{\"n\":2}".into()][..]),
        "{errors:?}"
    );
    // Without it nobody answers, and that is said.
    relay.kill();
    let (code, _, errors) = start(&environment, "fedmsg-tail", &past).end();
    let says = |errors: &[String]| errors.iter().any(|line| line.contains("nobody answers"));
    assert!(code == 75 && says(&errors), "{errors:?}");
}
