//! Everything that is refused, with the place that the error names.

use std::os::unix::fs::PermissionsExt;

use super::*;
use data_encoding::BASE64URL_NOPAD;

/// One file, and what must be said about it.
fn check(name: &str, text: &str, said: &str) {
    let errors = Fixture::new(&[(name, text)]).errors();
    let expected = format!("{name}:{said}");
    assert!(errors.lines().any(|line| line.contains(&expected)), "{text}\n{expected}\n{errors}");
}

#[test]
fn settings_are_refused_with_line_column_and_key() {
    for (text, said) in [
        ("x = \n", "1:5: "),
        (
            "[bus]\ntopic_prefix = 5",
            "2:16: bus.topic_prefix: a string is expected, but this is an integer",
        ),
        ("[bus]\ntopic_prefix = 'a..b'", "2:16: bus.topic_prefix: `a..b`: token 2 is empty"),
        ("[bus]\nenvironment = 'a.b'", "2:15: bus.environment: `a.b`: `.` in"),
        ("[bus]\nstate_dir = 'x'", "2:13: bus.state_dir: `x` is no absolute path"),
        ("bus = 1", "1:7: bus: a table is expected"),
        (
            "[publisher]\nslow_subscriber_wait_ms = 501",
            "2:27: publisher.slow_subscriber_wait_ms: 501 is out of bounds: 0 to 500",
        ),
        (
            "[publisher]\nseal_interval_us = -1",
            "2:20: publisher.seal_interval_us: -1 is out of bounds",
        ),
        (
            "[publisher]\nqueue_messages = 99999999999999999999",
            "2:18: publisher.queue_messages: 99999999999999999999 is out",
        ),
        (
            "[publisher]\nqueue_bytes = 1.5",
            "2:15: publisher.queue_bytes: an integer is expected, but this is a number with a point",
        ),
        (
            "[publisher]\nlevel = 'replicated(0)'",
            "2:9: publisher.level: `replicated(0)` is no level: `local`, `memory`, `replicated(N)` or",
        ),
        ("[publisher.levels]\nkoji = 'stored'", "2:8: publisher.levels.koji: `stored` is no level"),
        (
            "[publisher.levels]\nKoji = 'local'",
            "2:1: publisher.levels.Koji: `Koji` is neither a service nor an identity",
        ),
        (
            "[publisher]\non_unreachable = 'memory'",
            "2:18: publisher.on_unreachable: `memory` is not `fail` or `local`",
        ),
        (
            "[publisher]\ncopies_wait_ms = 99",
            "2:18: publisher.copies_wait_ms: 99 is out of bounds: 100 to 600000",
        ),
        (
            "[publisher]\ncopies = ['relay.gone']",
            "2:11: publisher.copies[0]: there is no endpoint `relay.gone`",
        ),
        ("[publisher]\nlevel = 'disk'", "2:9: publisher.level: `disk` is no level"),
        (
            "[journal]\nsegment_bytes = 4095",
            "2:17: journal.segment_bytes: 4095 is out of bounds: 4096 to 1073741824",
        ),
        ("[journal]\nsegment_ms = 999", "2:14: journal.segment_ms: 999 is out of bounds: 1000 to"),
        ("[journal]\nkeep_bytes = 0", "2:14: journal.keep_bytes: 0 is out of bounds: 4096 to"),
        ("[journal]\nkeep_ms = 0", "2:11: journal.keep_ms: 0 is out of bounds: 1000 to"),
        (
            "[consumer]\nstore = 'sqlite://x.db'",
            "2:9: consumer.store: the path of a store is absolute",
        ),
        (
            "[consumer]\nstore = 'mysql://u:p@h/d'",
            "2:9: consumer.store: not the address of a store",
        ),
        ("[consumer]\nstor = 'x'", "2:1: consumer.stor: unknown key; did you mean `store`?"),
        ("[journal]\nkeep = 0", "2:1: journal.keep: unknown key; did you mean `keep_ms`?"),
        ("[publisher]\nidentity = 'x'", "2:12: publisher.identity: `x` is no identity"),
        ("[publisher]\nrelays = 'a.b'", "2:10: publisher.relays: a list of strings"),
        ("[publisher]\nrelays = ['a.b', 5]", "2:18: publisher.relays[1]: a string"),
        (
            "[publisher]\nrelays = ['relay.b']\n[endpoints.'relay.a']\nsubmit = 'tcp://a:1'",
            "2:11: publisher.relays[0]: there is no endpoint `relay.b`; did you mean `relay.a`?",
        ),
        (
            "[publisher]\nrelays = ['a.b']\n[endpoints]\n'a.b' = ['tcp://a:1']",
            "2:11: publisher.relays[0]: `a.b` is no relay",
        ),
        ("[relay]\nidentity = 'a.b'", "2:12: relay.identity: there is no endpoint `a.b`"),
        ("[subscribe]\nfrom = ['koji']", "2:9: subscribe.from[0]: `koji` can match no identity"),
        ("[subscribe]\nfrom = ['>.x']", "2:9: subscribe.from[0]: `>.x` can match nothing"),
        (
            "[subscribe]\nfrom = ['Koji.*']",
            "2:9: subscribe.from[0]: `Koji.*` can match no identity: identities have no capital",
        ),
    ] {
        check("a.toml", text, said);
    }
}

#[test]
fn endpoints_are_refused_with_line_column_and_key() {
    for (text, said) in [
        (
            "[endpoints]\nbodhi.a = ['tcp://a:1']",
            "2:1: endpoints.bodhi: `bodhi` is no identity: SERVICE.INSTANCE is expected, in quotes",
        ),
        (
            "[endpoints]\n'Bodhi.a' = ['tcp://a:1']",
            "2:1: endpoints.\"Bodhi.a\": `Bodhi.a` is no identity: `B`",
        ),
        ("[endpoints]\n'b.a' = 5", "2:9: endpoints.\"b.a\": a table is expected"),
        ("[endpoints]\n'b.a' = []", "2:9: endpoints.\"b.a\": the list is empty"),
        ("[endpoints]\n'b.a' = ['tcp://a']", "2:10: endpoints.\"b.a\"[0]: `tcp://a` has no port"),
        (
            "[endpoints.'b.a']\npublish = 'tcp://a:0'",
            "2:11: endpoints.\"b.a\".publish: `tcp://a:0`: nobody can connect to port 0",
        ),
        (
            "[endpoints.'b.a']\npublish = 'tcp://a:1-2000'",
            "2:11: endpoints.\"b.a\".publish: `tcp://a:1-2000` has 2000 ports",
        ),
        (
            "[endpoints.'b.a']\npublish = ['tcp://a:1-600', 'tcp://b:1-600']",
            "2:11: endpoints.\"b.a\".publish: 1200 addresses",
        ),
        (
            "[endpoints.'b.a']\npublsh = 'tcp://a:1'",
            "2:1: endpoints.\"b.a\".publsh: unknown key; did you mean `publish`?",
        ),
        (
            "[endpoints.'b.a']\ncarries = ['a.>.b']",
            "2:12: endpoints.\"b.a\".carries[0]: `a.>.b` can match nothing",
        ),
        ("[endpoints.'b.a']\ncarries = ['{service}.>']", "2:12: endpoints.\"b.a\".carries[0]: "),
        (
            "[endpoints]\n'b.a' = ['tcp://a:1']\n'b.c' = ['tcp://A:1']",
            "3:1: endpoints.\"b.c\".publish: `tcp://a:1` stands twice: the first time at endpoints.\"b.a\".publish",
        ),
        ("[endpoints]\n'b.a' = ['tcp://a:1']\n'b.a' = ['tcp://b:1']", "3:1: duplicate key"),
    ] {
        check("a.toml", text, said);
    }
}

#[test]
fn rules_are_refused_with_line_column_and_key() {
    for (text, said) in [
        ("publish = 5", "1:1: publish: an array of tables"),
        ("[[publish]]\ntopics = ['a']", "1:1: publish[0]: a rule has exactly one of"),
        (
            "[[publish]]\nservice = 'a'\nidentity = 'a.b'\ntopics = ['a']",
            "1:1: publish[0]: a rule has exactly one of",
        ),
        ("[[read]]\nservice = 'a'", "1:1: read[0]: `topics` is missing"),
        ("[[deny]]\nservice = 'a'\ntopics = []", "3:10: deny[0].topics: the list is empty"),
        (
            "[[deny]]\nservice = 'a'\ntopics = ['a', 'a.>.b']",
            "3:16: deny[0].topics[1]: `a.>.b` can match nothing",
        ),
        (
            "[[publish]]\nservice = 'a'\ntopics = ['{envv}.x']",
            "3:11: publish[0].topics[0]: `{envv}.x`: `{` in",
        ),
        (
            "[[publish]]\nservice = 'a'\ntopics = ['_heartbeat.>']",
            "3:11: publish[0].topics[0]: `_heartbeat.>`: topics that begin with `_`",
        ),
        (
            "[[publish]]\nservice = 'A'\ntopics = ['a']",
            "2:11: publish[0].service: `A` is no service",
        ),
        ("[[publish]]\nservice = 'a.b'\ntopics = ['a']", "2:11: publish[0].service: `a.b`"),
        (
            "[[publish]]\nidentity = '*'\ntopics = ['a']",
            "2:12: publish[0].identity: `*` can match no identity",
        ),
        (
            "[[publish]]\nidentity = 'a.b'\nexcept = ['a.c']\ntopics = ['a']",
            "3:1: publish[0].except: unknown key",
        ),
        (
            "[[deny]]\nidentity = 'a.b'\nexcept = ['a']\ntopics = ['a']",
            "3:11: deny[0].except[0]: `a` can match no identity",
        ),
    ] {
        check("a.toml", text, said);
        check("policy.d/a.toml", text, said);
    }
    check("policy.d/a.toml", "[bus]\nenvironment = 'x'", "1:2: bus: unknown key");
}

#[test]
fn keys_are_refused_with_line_column_and_key() {
    let good = keys("a.b", 1);
    let (id, public) = (secret(1).public().id(), secret(1).public().to_text());
    let mut small_order = [0; 32];
    small_order[0] = 1;
    let weak = BASE64URL_NOPAD.encode(&small_order);
    let with = |line: &str| format!("identity = 'a.b'\n[[key]]\ned25519 = '{public}'\n{line}\n");
    let revoked = |line: &str| format!("identity = 'a.b'\n[[revoked]]\nid = '{id}'\n{line}\n");
    let leaf = BASE64URL_NOPAD.encode(&[7; 32]);
    let position = |text: &str| revoked(&format!("last_good = [{{ {text} }}]"));
    for (text, said) in [
        ("".into(), " `identity` is missing"),
        (
            "identity = 'a.c'".into(),
            "1:12: identity: the keys of `a.c` belong into a file `a.c.toml`",
        ),
        (good.replace("[[key]]", "[[keys]]"), "3:3: keys: unknown key; did you mean `key`?"),
        ("identity = 'a.b'\n[[key]]\n".into(), "2:1: key[0]: `ed25519` is missing"),
        (good.replace(&public, "abc"), "5:11: key[0].ed25519: the public key is not 32 bytes"),
        (good.replace(&public, &weak), "5:11: key[0].ed25519: the public key is weak"),
        (good.replace(&public, &secret(2).public().to_text()), "3:1: key[0]: the key is called"),
        (format!("{good}[[key]]\ned25519 = '{public}'\n"), "6:1: key[1]: key fm1-"),
        (with("not_after = '2026-01-01T00:00:00Z'"), "4:13: key[0].not_after: a time has a date"),
        (with("not_after = 2026-01-01T00:00:00"), "4:13: key[0].not_after: a time has a date"),
        (
            with("not_after = 2026-01-01T00:00:00Z\nnot_before = 2026-01-01T01:00:00+00:30"),
            "2:1: key[0]: `not_after` is before",
        ),
        (
            with("not_afer = 2026-01-01T00:00:00Z"),
            "4:1: key[0].not_afer: unknown key; did you mean `not_after`?",
        ),
        (revoked("").replace(id.as_str(), "fm1-x"), "3:6: revoked[0].id: `fm1-x` is no key id"),
        (revoked("last_good = 5"), "4:13: revoked[0].last_good: an array of tables"),
        (position("stream = 'a.b/0'"), "4:14: revoked[0].last_good[0]: `epoch` is missing"),
        (
            position(&format!("stream = 'a.b/0', epoch = 'x', i = 1, leaf = '{leaf}'")),
            "4:42: revoked[0].last_good[0].epoch: `x` is not a UUID",
        ),
    ] {
        check("keys.d/a.b.toml", &text, said);
    }
}

#[test]
fn one_key_under_two_identities_is_refused() {
    let files = [("keys.d/a.b.toml", &*keys("a.b", 1)), ("keys.d/c.d.toml", &keys("c.d", 1))];
    let errors = Fixture::new(&files).errors();
    assert!(errors.contains("keys.d/c.d.toml:3:1: key[0]: key fm1-"), "{errors}");
    assert!(errors.contains("is given to both a.b and c.d"), "{errors}");
}

#[test]
fn revocations_void_a_key_and_keep_what_was_good() {
    let (id, leaf) = (secret(1).public().id(), BASE64URL_NOPAD.encode(&[7; 32]));
    let epoch = "0192f0c1-7d2e-7000-8000-000000000001";
    let text = format!(
        "{}[[revoked]]\nid = '{id}'\nat = 2026-01-01T01:00:00.5+01:00\nreason = 'stolen'\n\
         last_good = [{{ stream = 'a.b/0', epoch = '{epoch}', i = 7, leaf = '{leaf}' }}]\n",
        keys("a.b", 1)
    );
    let config = Fixture::new(&[("keys.d/a.b.toml", &text)]).load().expect("config");
    assert!(config.trust.keys.get(&id).expect("key").revoked);
    let revocation = &config.revocations[&id];
    assert_eq!(revocation.at.expect("time").to_string(), "2026-01-01T00:00:00.500Z");
    assert_eq!((revocation.last_good[0].i, revocation.last_good[0].leaf), (7, [7; 32]));
}

#[test]
fn errors_of_all_files_are_reported_together() {
    let fixture = Fixture::new(&[
        ("1.toml", "[bus]\nenvironment = 5\n[publisher]\nrelays = ['x.y']\n"),
        ("2.toml", "x = \n"),
        ("keys.d/a.b.toml", "identity = 'c.d'\n"),
        ("policy.d/p.toml", "[[deny]]\n"),
    ]);
    let errors = fixture.load().expect_err("errors");
    assert_eq!(errors.problems().len(), 6, "{errors}");
    assert_eq!(errors.to_string().lines().count(), 6);
}

#[test]
fn what_everybody_may_write_is_refused() {
    for name in ["", "1.toml", "keys.d", "keys.d/a.b.toml", "policy.d"] {
        let fixture = Fixture::new(&[
            ("1.toml", GOOD),
            ("keys.d/a.b.toml", &keys("a.b", 1)),
            ("policy.d/p.toml", ""),
        ]);
        fixture.load().expect("good");
        let permissions = PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(fixture.path(name), permissions).expect("chmod");
        assert!(fixture.errors().contains("everybody may write it (mode 0777)"), "{name}");
    }
}

#[test]
fn a_folder_that_was_named_has_to_be_there() {
    let mut fixture = Fixture::new(&[]);
    let config = fixture.load().expect("an empty folder is no error");
    assert_eq!(config.warnings[0].kind, ProblemKind::NothingThere);
    fixture.options.folder = Some(fixture.root().join("none"));
    assert!(fixture.errors().contains("none: cannot be read"));
    let variable = fixture.root().join("other").to_string_lossy().into_owned();
    fixture.options.folder = None;
    fixture.options.environment = vec![("FEDMSG_CONFIG_DIR".into(), variable)];
    assert!(fixture.errors().contains("other: cannot be read"));
}

#[test]
fn odd_files_are_errors() {
    let fixture = Fixture::new(&[]);
    std::fs::create_dir(fixture.path("folder.toml")).expect("folder");
    std::os::unix::fs::symlink("nowhere", fixture.path("link.toml")).expect("link");
    std::fs::write(fixture.path("bytes.toml"), [0xff, 0xfe]).expect("written");
    let errors = fixture.errors();
    assert_eq!(errors.matches("cannot be read").count(), 3, "{errors}");
}

#[test]
fn nothing_takes_the_denies_of_another_file_away() {
    let deny = "[[deny]]\nservice = '*'\ntopics = ['a']\n";
    let fixture = Fixture::new(&[("1.toml", deny), ("2.toml", "deny = []\n")]);
    assert_eq!(fixture.load().expect("config").trust.policy.rules().len(), 1);
}
