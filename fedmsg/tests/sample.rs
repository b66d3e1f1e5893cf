//! The sample configuration is loaded as a check would load it, and means what its comments say.

use std::path::Path;

use fedmsg::config::{Config, LoadOptions};
use fedmsg::identity::Identity;
use fedmsg::keys::SecretKey;

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
        ("archive.store01", 1, 1),
        ("archive.store02", 1, 1),
    ] {
        let entry = &config.endpoints[&identity(name)];
        assert_eq!((entry.publish.len(), entry.submit.len()), (publish, submit), "{name}");
        let mut keys = config.trust.keys.iter();
        assert!(keys.any(|key| key.identity == entry.identity && !key.revoked), "{name}");
    }
    assert_eq!(config.endpoints.len(), 7);
    assert_eq!(config.revocations.len(), 1);
}

#[test]
fn the_service_that_matters_waits_for_a_copy_and_there_are_two_archives_for_it() {
    let config = sample();
    let level = |name| config.publisher.level_of(&identity(name)).to_string();
    assert_eq!(
        (level("koji.backend01"), level("bodhi.backend01")),
        ("replicated(1)".into(), "local".into())
    );
    assert_eq!(config.endpoints.values().filter(|entry| entry.archive).count(), 2);
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

/// The examples of the documentation, by the path in their first line.
fn documented() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = std::fs::read_to_string(path).expect("docs/configuration.md");
    let blocks = text.split("```toml\n# /etc/fedmsg.d/").skip(1);
    let blocks = blocks.filter_map(|block| block.split_once("```")?.0.split_once('\n'));
    blocks.map(|(name, text)| (name.into(), text.into())).collect()
}

#[test]
fn the_examples_of_the_documentation_are_right() {
    let folder = tempfile::tempdir().expect("folder");
    let key = SecretKey::from_seed(&[7; 32]).expect("key");
    let examples = documented();
    assert_eq!(examples.len(), 3);
    for (name, text) in examples {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        let text = text.replace("fm1-KEY", key.public().id().as_str());
        let text = text.replace("PUBLIC", &key.public().to_text());
        std::fs::write(path, text).expect("written");
    }
    let folder = Some(folder.path().to_path_buf());
    let options = LoadOptions { folder, strict: true, ..LoadOptions::default() };
    let config = Config::load(&options).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.warnings, []);
    assert_eq!((config.endpoints.len(), config.revocations.len()), (3, 1));
}
