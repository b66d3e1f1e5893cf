//! What is in force without any configuration.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// Options of a user whose folders are all inside of this one.
fn user(root: &Path) -> LoadOptions {
    let set = |name: &str, path: &str| (name.to_string(), root.join(path).display().to_string());
    std::fs::create_dir_all(root.join("run")).expect("folder");
    LoadOptions {
        default_folder: root.join("etc"),
        environment: vec![set("FEDMSG_STATE_DIR", "state"), set("XDG_RUNTIME_DIR", "run")],
        ..LoadOptions::default()
    }
}

#[test]
fn without_configuration_one_user_can_publish_and_listen() {
    let root = tempfile::tempdir().expect("folder");
    let options = user(root.path());
    let config = Config::load(&options).expect("profile");
    assert_eq!(config.folder, None);
    assert_eq!(config.identity(), Ok(identity("dev.local")));
    assert_eq!(config.publisher.relays, [identity("relay.local")]);
    assert_eq!(config.relay.identity, Some(identity("relay.local")));
    assert_eq!(config.endpoints[&identity("dev.local")].publish.len(), 8);
    let relay = &config.endpoints[&identity("relay.local")];
    assert!(relay.submit.iter().chain(&relay.publish).all(crate::endpoint::Endpoint::is_loopback));
    assert!(relay.carries[0].matches("any.topic"));
    for who in ["dev.local", "relay.local"] {
        let key = config.secret_key(&identity(who)).expect("key");
        assert_eq!(config.trust.keys.get(&key.public().id()).expect("key").identity, identity(who));
        assert!(config.trust.policy.may_publish(&identity(who), "org.example.dev.x").allowed);
    }
    assert!(!config.trust.policy.may_publish(&identity("a.b"), "org.example.dev.x").allowed);
    assert_eq!(config.warnings, []);
    let again = Config::load(&options).expect("profile");
    assert_eq!(again.digest, config.digest, "the keys are made once");
}

#[test]
fn an_empty_default_folder_is_no_configuration_and_one_file_is() {
    let root = tempfile::tempdir().expect("folder");
    let options = user(root.path());
    std::fs::create_dir_all(root.path().join("etc/keys.d")).expect("folder");
    assert_eq!(Config::load(&options).expect("profile").folder, None);
    std::fs::write(root.path().join("etc/x.toml"), "").expect("written");
    assert_eq!(Config::load(&options).expect("config").folder, Some(root.path().join("etc")));
}

#[test]
fn processes_that_start_at_once_get_the_same_keys() {
    let root = tempfile::tempdir().expect("folder");
    let options = user(root.path());
    let start = std::sync::Barrier::new(8);
    let digests: Vec<String> = std::thread::scope(|scope| {
        let load = || {
            start.wait();
            Config::load(&options).expect("profile").digest
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        threads.into_iter().map(|thread| thread.join().expect("thread")).collect()
    });
    assert!(digests.iter().all(|digest| *digest == digests[0]));
}

#[test]
fn a_folder_of_sockets_that_is_not_ours_alone_is_refused() {
    let root = tempfile::tempdir().expect("folder");
    let options = user(root.path());
    let sockets = root.path().join("run/fedmsg");
    let refused = || {
        let error = Config::load(&options).expect_err("refused").to_string();
        assert!(error.contains("not this user's alone"), "{error}");
    };
    std::fs::create_dir(&sockets).expect("folder");
    std::fs::set_permissions(&sockets, PermissionsExt::from_mode(0o770)).expect("chmod");
    refused();
    std::fs::remove_dir(&sockets).expect("removed");
    symlink(root.path().join("run"), &sockets).expect("link");
    refused();
    std::fs::remove_file(&sockets).expect("removed");
    std::fs::write(&sockets, "").expect("written");
    refused();
}

#[test]
fn a_setting_can_be_changed_without_any_file() {
    let root = tempfile::tempdir().expect("folder");
    let mut options = user(root.path());
    options.overrides = vec![("bus.environment".into(), "stg".into())];
    let config = Config::load(&options).expect("profile");
    assert_eq!(config.trust.naming.environment(), "stg");
    assert!(config.trust.policy.may_publish(&identity("dev.local"), "org.example.stg.x").allowed);
    options.overrides = vec![("endpoints.x".into(), "y".into())];
    let error = Config::load(&options).expect_err("refused").to_string();
    assert!(error.contains("flag endpoints.x"), "{error}");
}
