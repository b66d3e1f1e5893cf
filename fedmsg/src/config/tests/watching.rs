//! Files that change while they are followed. Each test waits for updates, never for a time.

use std::os::unix::fs::symlink;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::*;

/// A watch and its updates.
struct Followed {
    watch: Watch,
    updates: Receiver<ConfigUpdate>,
}

const DENY: &str = "[[deny]]\nservice = 'bodhi'\ntopics = ['{prefix}.{env}.bodhi.bad']\n";

fn follow_with(options: LoadOptions, poll: Duration) -> Followed {
    let initial = Arc::new(Config::load(&options).expect("config"));
    let (sender, updates) = channel();
    let sent: OnUpdate = Box::new(move |update| {
        let _ = sender.send(update);
    });
    let watch = Watch::start(WatchOptions { load: options, poll }, initial, sent).expect("watch");
    Followed { watch, updates }
}

/// With a poll that never comes, so that what arrives was noticed.
fn follow(options: &LoadOptions) -> Followed {
    follow_with(options.clone(), Duration::from_secs(3600))
}

impl Followed {
    /// The first update that fits; updates before it are steps of the same change.
    fn until(&self, fits: impl Fn(&ConfigUpdate) -> bool) -> ConfigUpdate {
        loop {
            let update = self.updates.recv_timeout(Duration::from_secs(20)).expect("an update");
            if fits(&update) {
                return update;
            }
        }
    }

    fn until_environment(&self, environment: &str) {
        let fits = |update: &ConfigUpdate| update.config.trust.naming.environment() == environment;
        let update = self.until(fits);
        assert_eq!(update.error, None);
        assert_eq!(self.watch.latest().config.digest, update.config.digest);
    }
}

fn bus(environment: &str) -> String {
    format!("[bus]\nenvironment = '{environment}'\n")
}

fn may(config: &Config, who: &str, topic: &str) -> bool {
    config.trust.policy.may_publish(&identity(who), topic).allowed
}

#[test]
fn a_file_that_is_replaced_added_or_removed_is_noticed() {
    let fixture = Fixture::new(&[("1.toml", &bus("a"))]);
    let followed = follow(&fixture.options);
    fixture.write("1.toml", &bus("b"));
    followed.until_environment("b");
    fixture.write("2.toml", &bus("c"));
    followed.until_environment("c");
    std::fs::remove_file(fixture.path("2.toml")).expect("removed");
    followed.until_environment("b");
    fixture.write("keys.d/a.b.toml", &keys("a.b", 1));
    followed.until(|update| update.config.trust.keys.len() == 1);
    fixture.write("keys.d/c.d.toml", &keys("c.d", 2));
    followed.until(|update| update.config.trust.keys.len() == 2);
    std::fs::write(fixture.path("1.toml"), bus("d")).expect("written in place");
    followed.until_environment("d");
}

#[test]
fn links_that_are_swapped_are_noticed() {
    let fixture = Fixture::new(&[]);
    let root = fixture.root();
    for (folder, environment) in [("v1", "a"), ("v2", "b"), ("v3", "c")] {
        std::fs::create_dir_all(root.join(folder)).expect("folder");
        std::fs::write(root.join(folder).join("1.toml"), bus(environment)).expect("written");
    }
    let swap = |target: &Path, link: &Path| {
        symlink(target, root.join("new")).expect("link");
        std::fs::rename(root.join("new"), link).expect("renamed");
    };
    // As Kubernetes mounts a ConfigMap: every file is a link through one link to a folder.
    swap(&root.join("v1"), &fixture.path("..data"));
    symlink("..data/1.toml", fixture.path("1.toml")).expect("link");
    let followed = follow(&fixture.options);
    swap(&root.join("v2"), &fixture.path("..data"));
    followed.until_environment("b");
    drop(followed);
    // The folder itself is a link.
    let current = root.join("current");
    swap(&root.join("v1"), &current);
    let options = LoadOptions { folder: Some(current.clone()), ..fixture.options.clone() };
    let followed = follow(&options);
    for (folder, environment) in [("v2", "b"), ("v3", "c")] {
        swap(&root.join(folder), &current);
        followed.until_environment(environment);
    }
    std::fs::write(root.join("v3/2.toml"), bus("d")).expect("written");
    followed.until_environment("d");
}

#[test]
fn a_broken_file_keeps_the_last_good_state_but_denies_and_revocations_count() {
    let fixture = Fixture::new(&[("1.toml", GOOD), ("keys.d/bodhi.a.toml", &keys("bodhi.a", 1))]);
    let followed = follow(&fixture.options);
    let id = secret(1).public().id();
    let revoked = |config: &Config| config.trust.keys.get(&id).expect("key").revoked;
    let (good, bad) = ("org.example.prod.bodhi.good", "org.example.prod.bodhi.bad");
    let before = followed.watch.latest().config;
    assert!(may(&before, "bodhi.a", bad) && !revoked(&before));

    fixture.write("0-broken.toml", "[bus\n");
    let update = followed.until(|update| update.error.is_some());
    assert!(update.error.expect("error").contains("0-broken.toml:1:5"));
    assert_eq!(update.config.digest, before.digest);

    fixture.write("2.toml", &format!("x = 1\n{DENY}[[publish]]\nservice = '*'\ntopics = ['>']\n"));
    let revocation = format!("identity = 'bodhi.a'\nkay = 1\n[[revoked]]\nid = '{id}'\n");
    fixture.write("keys.d/bodhi.a.toml", &revocation);
    let update =
        followed.until(|update| revoked(&update.config) && !may(&update.config, "bodhi.a", bad));
    assert!(update.error.is_some());
    assert!(may(&update.config, "bodhi.a", good));
    assert!(!may(&update.config, "bodhi.a", "other"), "nothing is allowed that was not");
    assert_ne!(update.config.digest, before.digest);

    std::fs::remove_file(fixture.path("2.toml")).expect("removed");
    fixture.write("keys.d/bodhi.a.toml", &keys("bodhi.a", 1));
    std::fs::remove_file(fixture.path("0-broken.toml")).expect("removed");
    let update = followed.until(|update| update.error.is_none());
    assert_eq!(update.config.digest, before.digest);
}

#[test]
fn a_poll_finds_what_nobody_reported_and_the_same_contents_are_no_update() {
    let fixture = Fixture::new(&[("1.toml", &bus("a"))]);
    let followed = follow_with(fixture.options.clone(), Duration::from_millis(5));
    fixture.write("1.toml", &bus("a"));
    fixture.write("ignored.txt", "x");
    fixture.write("1.toml", &bus("b"));
    let update = followed.until(|_| true);
    assert_eq!(
        update.config.trust.naming.environment(),
        "b",
        "the first update is the first change"
    );
    drop(followed.watch);
    assert!(followed.updates.try_iter().next().is_none());
    assert!(followed.updates.recv().is_err(), "the thread has ended");
}

#[test]
fn what_changed_between_loading_and_watching_is_found() {
    let fixture = Fixture::new(&[("1.toml", &bus("a"))]);
    let initial = Arc::new(fixture.load().expect("config"));
    fixture.write("1.toml", &bus("b"));
    let (sender, updates) = channel();
    let sent = Box::new(move |update| drop(sender.send(update)));
    let _watch = Watch::start(fixture.options.clone(), initial, sent).expect("watch");
    let update: ConfigUpdate = updates.recv_timeout(Duration::from_secs(20)).expect("update");
    assert_eq!(update.config.trust.naming.environment(), "b");
}

#[test]
fn real_configuration_never_falls_back_to_the_profile() {
    let fixture = Fixture::new(&[("1.toml", &bus("prod"))]);
    let options =
        LoadOptions { folder: None, default_folder: fixture.path(""), ..fixture.options.clone() };
    let followed = follow(&options);
    std::fs::remove_dir_all(fixture.path("")).expect("removed");
    let gone = |update: &ConfigUpdate| update.error.as_ref().is_some_and(|e| e.contains("gone"));
    let update = followed.until(gone);
    assert_eq!(update.config.trust.naming.environment(), "prod");
    fixture.write("1.toml", &bus("back"));
    followed.until_environment("back");
}

#[test]
fn whoever_asks_for_a_reload_is_told_what_came_of_it() {
    let fixture = Fixture::new(&[("1.toml", &bus("a"))]);
    let followed = follow(&fixture.options);
    let reload = || followed.watch.reloader().reload().expect("the watch lives");
    assert_eq!((reload().changed, reload().error), (false, None));
    fixture.write("1.toml", &bus("b"));
    // Whether by this or because the change was seen: the answer comes after it is in force.
    assert_eq!(reload().error, None);
    assert_eq!(followed.watch.latest().config.trust.naming.environment(), "b");
    fixture.write("1.toml", "[bus");
    let error = reload().error.expect("it is broken");
    assert!(error.contains("1.toml"), "{error}");
    let again = reload();
    assert_eq!((again.changed, again.error), (false, Some(error)), "it still is");
    let reloader = followed.watch.reloader();
    drop(followed);
    assert_eq!(reloader.reload(), None, "nobody reads any more");
}
