//! Tests that load whole folders.

mod errors;
mod watching;
mod zero;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::consumer::StoreAddress;
use crate::journal;
use crate::keys::SecretKey;
use crate::record::Level;

/// A configuration folder that is gone after the test.
pub(super) struct Fixture {
    root: tempfile::TempDir,
    pub options: LoadOptions,
}

/// A small configuration that is right.
pub(super) const GOOD: &str = r#"
[bus]
topic_prefix = "org.example"
environment = "prod"
state_dir = "/var/lib/fedmsg"
[endpoints]
"koji.hub" = ["tcp://koji:3000"]
[endpoints."bodhi.backend01"]
publish = "tcp://backend01:3000-3003"
replay = ["tcp://backend01:3500-3502", "tcp://backend01:3503"]
[endpoints."relay.proxy01"]
publish = "tcp://proxy01:4001"
submit = ["ipc:///run/fedmsg/relay.sock", "tcp://proxy01:2003"]
carries = ["{prefix}.{env}.>"]
[publisher]
relays = ["relay.proxy01"]
[[publish]]
service = "*"
topics = ["{prefix}.{env}.{service}.>"]
"#;

impl Fixture {
    pub fn new(files: &[(&str, &str)]) -> Fixture {
        let root = tempfile::tempdir().expect("folder");
        let folder = root.path().join("fedmsg.d");
        std::fs::create_dir(&folder).expect("folder");
        let options = LoadOptions { folder: Some(folder), strict: true, ..LoadOptions::default() };
        let fixture = Fixture { root, options };
        for (name, text) in files {
            fixture.write(name, text);
        }
        fixture
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("fedmsg.d").join(name)
    }

    /// Writes a file as careful tools do: under another name first.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        let temporary = path.with_extension("tmp");
        std::fs::write(&temporary, text).expect("written");
        std::fs::set_permissions(&temporary, PermissionsExt::from_mode(0o644)).expect("chmod");
        std::fs::rename(temporary, path).expect("renamed");
    }

    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.options)
    }

    /// The errors, with the folder's own path taken out.
    pub fn errors(&self) -> String {
        let error = self.load().expect_err("an error").to_string();
        let folder = self.path("").display().to_string();
        error.replace(&folder, "").replace(folder.trim_end_matches('/'), "")
    }
}

pub(super) fn identity(text: &str) -> Identity {
    Identity::parse(text).expect("identity")
}

pub(super) fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32]).expect("key")
}

/// The text of a key file.
pub(super) fn keys(of: &str, seed: u8) -> String {
    public_text(&secret(seed), &identity(of))
}

#[test]
fn a_folder_becomes_a_snapshot() {
    let fixture = Fixture::new(&[
        ("10-bus.toml", GOOD),
        (
            "20-more.toml",
            "[endpoints.'koji.hub2']\npublish = 'tcp://[::1]:1'\n[[deny]]\nidentity = 'bodhi.*'\nexcept = ['bodhi.sec']\ntopics = ['{prefix}.*.*.security.>']\n",
        ),
        ("keys.d/bodhi.backend01.toml", &keys("bodhi.backend01", 1)),
        (
            "policy.d/koji.toml",
            "[[publish]]\nidentity = 'koji.>'\ntopics = ['{prefix}.{env}.build.>']\n",
        ),
        ("not-read.conf", "?"),
        (".hidden.toml", "?"),
    ]);
    let config = fixture.load().expect("config");
    assert_eq!(config.folder, fixture.options.folder);
    assert_eq!(config.trust.naming.environment(), "prod");
    let bodhi = &config.endpoints[&identity("bodhi.backend01")];
    assert_eq!((bodhi.publish.len(), bodhi.replay.len(), bodhi.submit.len()), (4, 4, 0));
    assert!(bodhi.origin.ends_with("10-bus.toml:8"), "{}", bodhi.origin);
    let relay = &config.endpoints[&identity("relay.proxy01")];
    assert_eq!(relay.carries[0].as_str(), "org.example.prod.>");
    assert_eq!(config.endpoints.len(), 4);
    assert_eq!(config.publisher.relays, [identity("relay.proxy01")]);
    assert_eq!(config.publisher.seal_interval_us, 250);
    assert!(config.subscribe.includes(&identity("any.body.at.all")));
    assert_eq!(config.state_dir, Path::new("/var/lib/fedmsg"));
    assert_eq!(config.private_dir, fixture.path("private"));
    let key = config.trust.keys.get(&secret(1).public().id()).expect("key");
    assert_eq!(key.identity, identity("bodhi.backend01"));
    let may = |who, topic| config.trust.policy.may_publish(&identity(who), topic);
    assert!(may("koji.hub", "org.example.prod.build.x").allowed);
    let denied = may("bodhi.a", "org.example.prod.bodhi.security.x");
    assert!(!denied.allowed);
    assert!(denied.rule.expect("rule").origin.ends_with("20-more.toml:3"));
    assert_eq!(config.warnings, []);
}

#[test]
fn a_level_is_that_of_the_identity_else_of_its_service_and_a_process_may_have_its_own() {
    let text = "[publisher]\nlevel = 'stored(2)'\n\
                [publisher.levels]\nkoji = 'replicated(1)'\n'koji.hub02' = 'local'\n";
    let mut fixture = Fixture::new(&[("1.toml", GOOD), ("2.toml", text)]);
    let of = |config: &Config, name: &str| config.publisher.level_of(&identity(name)).to_string();
    let config = fixture.load().expect("config");
    assert_eq!(of(&config, "koji.hub02"), "local");
    assert_eq!(of(&config, "koji.hub01"), "replicated(1)");
    assert_eq!(of(&config, "bodhi.backend01"), "stored(2)");
    fixture.options.environment = vec![("FEDMSG__PUBLISHER__LEVEL".into(), "memory".into())];
    assert_eq!(of(&fixture.load().expect("config"), "koji.hub01"), "memory");
}

#[test]
fn the_environment_comes_after_the_files_and_flags_come_last() {
    let mut fixture = Fixture::new(&[("1.toml", GOOD), ("2.toml", "[bus]\nenvironment = 'stg'\n")]);
    let set = |name: &str, value: &str| (name.to_string(), value.to_string());
    fixture.options.environment = vec![
        set("FEDMSG__BUS__ENVIRONMENT", "dev"),
        set("FEDMSG__BUS__TOPIC_PREFIX", "org.fedora"),
        set("FEDMSG__PUBLISHER__SEAL_INTERVAL_US", "1000"),
        set("FEDMSG__PUBLISHER__IDENTITY", "a.b"),
        set("FEDMSG__PUBLISHER__LEVEL", "memory"),
        set("FEDMSG__JOURNAL__KEEP_MS", "60000"),
        set("FEDMSG__SUBSCRIBE__FROM", "koji.*, relay.>"),
    ];
    fixture.options.overrides = vec![set("bus.environment", "test")];
    let config = fixture.load().expect("config");
    assert_eq!(config.trust.naming.expand("{prefix}.{env}"), "org.fedora.test");
    assert_eq!(config.publisher.level, Level::Memory);
    let kept = journal::Settings { keep_ms: 60_000, ..journal::Settings::default() };
    assert_eq!(config.journal.settings(), kept);
    assert_eq!(config.publisher.seal_interval_us, 1000);
    assert!(!config.subscribe.includes(&identity("bodhi.backend01")));
    assert_eq!(config.identity(), Ok(identity("a.b")));
    let origin = |key: &str| {
        let mut rows = config.origins().iter();
        let row = rows.find(|row| row.key == key).expect(key);
        format!("{} {}", row.value, row.origin.rsplit('/').next().unwrap_or_default())
    };
    for (key, expected) in [
        ("bus.environment", "\"test\" flag bus.environment"),
        ("bus.topic_prefix", "\"org.fedora\" environment FEDMSG__BUS__TOPIC_PREFIX"),
        ("bus.state_dir", "\"/var/lib/fedmsg\" 1.toml:5"),
        ("publisher.queue_messages", "10000 default"),
        ("publisher.level", "\"memory\" environment FEDMSG__PUBLISHER__LEVEL"),
        ("journal.segment_bytes", "16777216 default"),
        ("journal.keep_ms", "\"60000\" environment FEDMSG__JOURNAL__KEEP_MS"),
        ("endpoints.\"relay.proxy01\".publish", "\"tcp://proxy01:4001\" 1.toml:12"),
        ("publish[0].service", "\"*\" 1.toml:18"),
    ] {
        assert_eq!(origin(key), expected);
    }
}

#[test]
fn the_password_of_a_store_is_in_force_but_is_not_shown() {
    let text = "[consumer]\nstore = 'postgres://u:secret@h/d'\n[consumers]\nstore = 'postgres://u:secret@h'\n";
    let mut fixture = Fixture::new(&[("1.toml", text)]);
    fixture.options.strict = false;
    let config = fixture.load().expect("config");
    let shown = |config: &Config| format!("{config:?} {:?}", config.origins());
    let address = StoreAddress::Postgres("postgres://u:secret@h/d".into());
    assert_eq!(config.store_address(), address);
    assert!(!shown(&config).contains("secret"), "{}", shown(&config));
    assert!(shown(&config).contains("postgres://u:…@h/d"), "{}", shown(&config));
    let variable = ("FEDMSG__CONSUMER__STORE".into(), "postgres://u:secret@other/d".into());
    fixture.options.environment = vec![variable];
    let config = fixture.load().expect("config");
    assert_eq!(config.store_address().to_string(), "postgres://u:…@other/d");
    assert!(!shown(&config).contains("secret"), "{}", shown(&config));
    let usual = Fixture::new(&[("1.toml", "[bus]\nstate_dir = '/s'\n")]).load().expect("config");
    assert_eq!(usual.store_address(), StoreAddress::Sqlite("/s/consumers.db".into()));
}

#[test]
fn a_process_has_the_identity_of_its_environment_first() {
    let mut fixture = Fixture::new(&[("1.toml", "[publisher]\nidentity = 'a.b'\n")]);
    assert_eq!(fixture.load().expect("config").identity(), Ok(identity("a.b")));
    fixture.options.environment = vec![("FEDMSG_IDENTITY".into(), "c.d".into())];
    assert_eq!(fixture.load().expect("config").identity(), Ok(identity("c.d")));
    fixture.options.environment = vec![("FEDMSG_IDENTITY".into(), "c".into())];
    assert!(fixture.errors().starts_with("environment FEDMSG_IDENTITY: `c` is no identity"));
    let nameless = Fixture::new(&[("1.toml", GOOD)]).load().expect("config").identity();
    assert!(nameless.expect_err("no name").to_string().contains("FEDMSG_IDENTITY"));
}

#[test]
fn an_unknown_key_is_a_warning_while_running_and_an_error_for_a_check() {
    let text = format!("{GOOD}\n[busses]\n");
    let mut fixture = Fixture::new(&[("1.toml", &text), ("2.toml", "[publisher]\nrelay = 1\n")]);
    fixture.options.environment = vec![("FEDMSG__BUS__TOPIC".into(), "x".into())];
    let errors = fixture.errors();
    for part in [
        "1.toml:21:2: busses: unknown key; did you mean `bus`?",
        "2.toml:2:1: publisher.relay: unknown key; did you mean `relays`?",
        "environment FEDMSG__BUS__TOPIC: bus.topic: unknown key; did you mean `topic_prefix`?",
    ] {
        assert!(errors.contains(part), "{part}\n{errors}");
    }
    fixture.options.strict = false;
    assert_eq!(fixture.load().expect("config").warnings.len(), 3);
}

#[test]
fn the_digest_tells_configurations_apart_but_not_their_order() {
    let deny = "[[deny]]\nservice = 'x'\ntopics = ['a']\n";
    let digest = |files: &[(&str, &str)]| Fixture::new(files).load().expect("config").digest;
    let first = digest(&[("1.toml", GOOD), ("2.toml", deny)]);
    assert_eq!(first, digest(&[("1.toml", deny), ("2.toml", GOOD)]));
    assert_ne!(first, digest(&[("1.toml", GOOD)]));
    assert_ne!(first, digest(&[("1.toml", &GOOD.replace("4001", "4002")), ("2.toml", deny)]));
}

#[test]
fn a_secret_key_comes_from_the_credentials_first() {
    let mut fixture = Fixture::new(&[("1.toml", GOOD)]);
    let who = identity("bodhi.backend01");
    assert!(fixture.load().expect("config").secret_key(&who).expect_err("none").is_missing());
    let own = create_key(&fixture.path("private"), &fixture.path("keys.d"), &who).expect("key");
    let config = fixture.load().expect("config");
    assert_eq!(config.secret_key(&who).expect("key").public(), own.public());
    assert!(config.trust.keys.get(&own.public().id()).is_some());
    let credentials = fixture.root().join("credentials");
    let given = create_key(&credentials, &fixture.root().join("x"), &who).expect("key");
    let variable = credentials.to_string_lossy().into_owned();
    fixture.options.environment = vec![("CREDENTIALS_DIRECTORY".into(), variable)];
    let config = fixture.load().expect("config");
    assert_eq!(config.secret_key(&who).expect("key").public(), given.public());
}
