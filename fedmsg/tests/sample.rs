//! The sample configuration is loaded as a check would load it, and means what its comments say.

use std::path::Path;

use fedmsg::config::{Config, LoadOptions};
use fedmsg::identity::Identity;

fn sample() -> Config {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc-fedmsg.d");
    let options = LoadOptions { folder: Some(folder), strict: true, ..LoadOptions::default() };
    Config::load(&options).unwrap_or_else(|error| panic!("{error}"))
}

fn identity(text: &str) -> Identity {
    Identity::parse(text).expect("identity")
}

#[test]
fn the_sample_has_no_errors_and_no_warnings() {
    let config = sample();
    assert_eq!(config.warnings, []);
    for (name, publish, submit) in [
        ("bodhi.backend01", 8, 0),
        ("koji.backend01", 2, 0),
        ("git.proxy01", 1, 0),
        ("relay.backend01", 1, 1),
        ("relay.proxy01", 1, 2),
    ] {
        let entry = &config.endpoints[&identity(name)];
        assert_eq!((entry.publish.len(), entry.submit.len()), (publish, submit), "{name}");
        let mut keys = config.trust.keys.iter();
        assert!(keys.any(|key| key.identity == entry.identity && !key.revoked), "{name}");
    }
    assert_eq!(config.endpoints.len(), 5);
    assert_eq!(config.revocations.len(), 1);
}

#[test]
fn the_policy_of_the_sample_decides_as_its_comments_say() {
    let config = sample();
    for (who, topic, allowed) in [
        ("bodhi.backend01", "org.example.prod.bodhi.update.new", true),
        ("bodhi.backend01", "org.example.prod.koji.tag.added", true),
        ("bodhi.backend01", "org.example.prod.koji.build.start", false),
        ("bodhi.backend01", "org.example.prod.bodhi.security.new", true),
        ("bodhi.other", "org.example.prod.bodhi.security.new", false),
        ("koji.backend01", "org.example.dev.koji.build.start", false),
    ] {
        let decision = config.trust.policy.may_publish(&identity(who), topic);
        assert_eq!(decision.allowed, allowed, "{who} {topic}");
    }
}

#[test]
fn the_sample_has_no_secret() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc-fedmsg.d");
    assert!(!folder.join("private").exists());
}
