//! Names print as they are read; patterns and policy agree with models that are too simple to be wrong.

use fedmsg::envelope::Epoch;
use fedmsg::identity::{Identity, StreamName};
use fedmsg::keys::{KeyId, PublicKey, SecretKey};
use fedmsg::merkle::Leaf;
use fedmsg::policy::{Action, Policy, Rule, Subject};
use fedmsg::topic::{Naming, Pattern, Topic};
use proptest::collection::vec;
use proptest::prelude::*;

/// Text that is often nearly a name.
fn nearly(alphabet: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![alphabet.prop_map(String::from), "\\PC{0,40}"]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn what_is_read_prints_the_same(
        topic in nearly("[a-cA-C0-9_.*> -]{0,30}"),
        stream in nearly("[a-c0-9_.-]{1,6}\\.[a-c0-9_.-]{1,6}/(0|[0-9]{1,5}|[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-fA]{12})"),
        id in nearly("fm1-[a-z2-7]{26}"),
        epoch in nearly("[0-9a-fA]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}"),
        leaf in nearly("[A-Za-z0-9_-]{43}"),
    ) {
        if let Ok(read) = Topic::parse(&topic) {
            prop_assert_eq!(read.to_string(), &*topic);
        }
        prop_assert_eq!(Topic::parse(&topic).is_ok(), Topic::is_valid(topic.as_bytes()));
        if let Ok(read) = Pattern::subscription(&topic) {
            prop_assert_eq!(read.to_string(), &*topic);
        }
        if let Ok(read) = StreamName::parse(&stream) {
            prop_assert_eq!(read.to_string(), &*stream);
            prop_assert_eq!(StreamName::new(read.identity().clone(), read.slot()), read.clone());
            let identity = read.identity();
            prop_assert_eq!(Identity::parse(identity.as_str()), Ok(identity.clone()));
            prop_assert_eq!(format!("{}.{}", identity.service(), identity.instance()), identity.to_string());
            prop_assert!(Topic::is_valid(read.heartbeat_topic().as_str().as_bytes()));
        }
        if let Ok(read) = KeyId::parse(&id) {
            prop_assert_eq!(read.to_string(), id);
        }
        if let Some(read) = Epoch::parse(&epoch) {
            prop_assert_eq!(read.to_string(), epoch);
        }
        if let Some(read) = Leaf::parse(leaf.as_bytes()) {
            prop_assert_eq!(read.to_string(), leaf);
        }
    }

    #[test]
    fn what_is_made_reads_the_same(seed in any::<[u8; 32]>(), leaf in any::<[u8; 32]>()) {
        let key = SecretKey::from_seed(&seed).expect("a seed makes a good key");
        let again = SecretKey::parse(&key.to_text()).expect("read");
        prop_assert_eq!(again.public(), key.public());
        prop_assert_eq!(&PublicKey::parse(&key.public().to_text()).expect("read"), key.public());
        prop_assert_eq!(KeyId::parse(key.public().id().as_str()), Ok(key.public().id()));
        prop_assert_eq!(Leaf::parse(&Leaf(leaf).to_text()), Some(Leaf(leaf)));
    }

    #[test]
    fn any_one_wrong_character_of_a_secret_key_is_found(
        seed in any::<[u8; 32]>(), at in 24..82usize, other in "[A-Z2-7]",
    ) {
        let text = SecretKey::from_seed(&seed).expect("key").to_text();
        let mut wrong = text.to_string();
        wrong.replace_range(at..=at, &other);
        prop_assert_eq!(SecretKey::parse(&wrong).is_ok(), wrong == **text);
    }

    #[test]
    fn epochs_grow_whatever_the_clock_does(times in vec(0..4_000_000_000_000i64, 1..20), random in any::<[u8; 10]>()) {
        let mut last = None;
        for time in times {
            let next = Epoch::next(fedmsg::timestamp::Timestamp::from_millis(time), random, last);
            prop_assert!(Some(next) > last);
            prop_assert_eq!((next.uuid().get_version_num(), Epoch::parse(&next.to_string())), (7, Some(next)));
            last = Some(next);
        }
    }
}

/// A pattern's meaning, word for word: `*` is one token, `>` one or more, and a subscriber's pattern without
/// one at its end stands for everything below it too.
fn matches_naively(pattern: &[&str], topic: &[&str], open_end: bool) -> bool {
    match (pattern, topic) {
        ([], []) => true,
        ([], _) => open_end,
        ([">"], topic) => !topic.is_empty(),
        (["*", pattern @ ..], [_, topic @ ..]) => matches_naively(pattern, topic, open_end),
        ([literal, pattern @ ..], [token, topic @ ..]) => {
            literal == token && matches_naively(pattern, topic, open_end)
        }
        (_, []) => false,
    }
}

fn tokens(text: &str) -> Vec<&str> {
    text.split('.').collect()
}

/// All topics of up to `depth` tokens over a, b and ab.
fn small_topics(depth: usize) -> Vec<String> {
    let mut all: Vec<String> = ["a", "b", "ab"].map(String::from).into();
    let mut longest = all.clone();
    for _ in 1..depth {
        let longer = longest.iter().flat_map(|t| ["a", "b", "ab"].map(|end| format!("{t}.{end}")));
        longest = longer.collect();
        all.extend(longest.iter().cloned());
    }
    all
}

fn small_patterns(depth: usize) -> Vec<String> {
    let mut all: Vec<String> = ["a", "b", "ab", "*"].map(String::from).into();
    let mut longest = all.clone();
    for _ in 1..depth {
        let longer =
            longest.iter().flat_map(|t| ["a", "b", "ab", "*"].map(|end| format!("{t}.{end}")));
        longest = longer.collect();
        all.extend(longest.iter().cloned());
    }
    let rests: Vec<String> = all.iter().map(|t| format!("{t}.>")).collect();
    all.into_iter().chain(rests).chain([">".to_owned()]).collect()
}

#[test]
fn patterns_match_what_the_naive_model_matches() {
    let topics = small_topics(4);
    for text in small_patterns(3) {
        let subscription = Pattern::subscription(&text).expect("pattern");
        let policy = Pattern::policy(&text).expect("pattern");
        for topic in &topics {
            let (pattern, split) = (tokens(&text), tokens(topic));
            assert_eq!(
                subscription.matches(topic),
                matches_naively(&pattern, &split, true),
                "{text} {topic}"
            );
            assert_eq!(
                policy.matches(topic),
                matches_naively(&pattern, &split, false),
                "{text} {topic}"
            );
        }
    }
}

#[test]
fn patterns_overlap_when_some_topic_is_in_both() {
    // A pattern of two places and `>` is told from another by topics of three tokens.
    let topics = small_topics(3);
    let read = |text: &String| {
        let both = [Pattern::subscription(text), Pattern::policy(text)];
        both.map(|pattern| pattern.expect("pattern"))
    };
    let patterns: Vec<Pattern> = small_patterns(2).iter().flat_map(read).collect();
    let sets = patterns.iter().map(|p| topics.iter().map(|t| p.matches(t)).collect::<Vec<_>>());
    let sets: Vec<_> = sets.collect();
    for (a, in_a) in patterns.iter().zip(&sets) {
        for (b, in_b) in patterns.iter().zip(&sets) {
            let shared = in_a.iter().zip(in_b).any(|(a, b)| *a && *b);
            assert_eq!(a.overlaps(b), shared, "{a} and {b}");
        }
    }
}

/// A rule as it is written: what, about whom, except whom, which topics.
type Written = (Action, String, Option<String>, Vec<String>);

fn subject(text: &str) -> Subject {
    let read = match text.split_once(' ') {
        Some(("service", name)) => Subject::service(name),
        Some((_, pattern)) => Subject::identity(pattern),
        None => unreachable!("the strategies write both words"),
    };
    read.expect("subject")
}

fn covers_naively(subject: &str, identity: &str) -> bool {
    match subject.split_once(' ') {
        Some(("service", "*")) => true,
        Some(("service", name)) => identity.split('.').next() == Some(name),
        Some((_, pattern)) => matches_naively(&tokens(pattern), &tokens(identity), false),
        None => false,
    }
}

fn allowed_naively(rules: &[Written], action: Action, identity: &str, topic: &str) -> bool {
    let service = identity.split('.').next().expect("a service");
    let applies = |kind: Action| {
        rules.iter().any(|(rule, whom, except, topics)| {
            let expand = |text: &String| {
                let text = text.replace("{prefix}", "a").replace("{env}", "b");
                text.replace("{service}", service)
            };
            let mut topics = topics.iter().map(expand);
            *rule == kind
                && covers_naively(whom, identity)
                && !except.as_ref().is_some_and(|except| covers_naively(except, identity))
                && topics.any(|t| matches_naively(&tokens(&t), &tokens(topic), false))
        })
    };
    applies(action) && !applies(Action::Deny)
}

fn written_rule() -> impl Strategy<Value = Written> {
    let action = prop::sample::select(vec![Action::Publish, Action::Read, Action::Deny]);
    let whom = prop::sample::select(vec![
        "service *",
        "service a",
        "service b",
        "identity a.*",
        "identity a.b",
        "identity *.b",
        "identity >",
        "identity a.>",
        "identity *.*.c",
    ]);
    let topic = prop::sample::select(vec![
        "{prefix}.{env}.{service}.>",
        "{prefix}.*.{service}.x",
        "a.b.>",
        "a.b.*.x",
        ">",
        "*",
        "a.b.a.x",
        "*.{service}.>",
    ]);
    let topics = vec(topic.prop_map(String::from), 0..3);
    (action, whom.prop_map(String::from), prop::option::weighted(0.3, whom_else()), topics)
}

fn whom_else() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["service a", "identity a.b", "identity *.c"]).prop_map(String::from)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn policy_is_deny_over_allow_over_silence(written in vec(written_rule(), 0..6)) {
        let naming = Naming::new("a", "b").expect("naming");
        let rules = written.iter().map(|(action, whom, except, topics)| {
            let mut rule = Rule::new(*action, subject(whom), topics, &naming, "test").expect("rule");
            rule.except = except.iter().map(|except| subject(except)).collect();
            rule
        });
        let policy = Policy::new(rules.collect());
        for identity in ["a.b", "b.b", "a.c", "c.b.c", "b.c"] {
            let parsed = Identity::parse(identity).expect("identity");
            for topic in ["a.b.a.x", "a.b.b.x", "a.b.a.y.z", "a.b", "b.a.x", "a", "a.c.a.x"] {
                let decision = policy.may_publish(&parsed, topic);
                prop_assert_eq!(decision.allowed, allowed_naively(&written, Action::Publish, identity, topic));
                let reads = policy.may_read(&parsed, topic);
                prop_assert_eq!(reads.allowed, allowed_naively(&written, Action::Read, identity, topic));
                let exact = Pattern::policy(topic).expect("pattern");
                prop_assert!(!decision.allowed || policy.may_publish_into(&parsed, &exact));
            }
        }
    }
}
