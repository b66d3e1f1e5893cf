//! Rows that cannot be published.

use fedmsg::outbox_table::SetAside;

use crate::world::{World, flush};

#[test]
fn rows_that_cannot_be_published_stand_in_nobodys_way_and_say_why() {
    for world in World::all() {
        let mut application = world.application();
        let long = format!("{{\"pad\":\"{}\"}}", "x".repeat(1 << 20));
        let longer = format!("{{\"pad\":\"{}\"}}", "x".repeat(4 << 20));
        application.insert(1);
        application.insert_as("app..n", "{}");
        application.insert_as("foreign.n", "{}");
        application.insert_as("app.n", "[1]");
        application.insert(2);
        application.insert_as("app.n", &long);
        application.insert_as("app.n", &longer);
        application.run(
            "INSERT INTO fedmsg_outbox (topic, headers) VALUES ('app.n', '{\"severity\": 1}');
             INSERT INTO fedmsg_outbox (topic, msg_id) VALUES ('app.n', ''), ('app.n', 'a\nb')",
        );
        application.insert(3);
        let table = world.table();
        flush(&table);
        assert_eq!(world.numbers(), [1, 2, 3]);
        let aside = world.rows().set_aside(None, 100).expect("a list");
        let reasons: Vec<&str> = aside.iter().map(|row| row.why.as_str()).collect();
        let expected = [
            "token 5 is empty",
            "may not publish",
            "object",
            "`msg` of",
            "at most 4194304",
            "`headers` is no JSON object of texts",
            "`msg_id` of",
            "control characters",
        ];
        assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
        for (why, part) in reasons.iter().zip(expected) {
            assert!(why.contains(part), "{why}: {part}");
        }
        assert_eq!(aside[1].topic, "foreign.n");
        let metrics = table.metrics();
        assert_eq!((metrics.refused, metrics.published, metrics.failures), (8, 3, 0));
        // Page by page, too.
        let mut rows = world.rows();
        let first = rows.set_aside(None, 3).expect("a page");
        let rest = rows.set_aside(first.last().map(|row| row.id), 100).expect("a page");
        assert_eq!([first, rest].concat(), aside);
    }
}

#[test]
fn what_stood_in_the_way_is_gone_and_the_row_is_tried_again_or_given_up() {
    for world in World::all() {
        let mut application = world.application();
        world.rules("app.allowed");
        application.insert_as("app.allowed", "{\"n\":1}");
        application.insert_as("app.later", "{\"n\":2}");
        application.insert_as("app.never", "{\"n\":3}");
        application.insert_as("app.later", "{\"n\":4}");
        let table = world.table();
        flush(&table);
        assert_eq!(world.numbers(), [1]);
        // Tried again too early, they are set aside again.
        let mut rows = world.rows();
        let ids = |aside: Vec<SetAside>| aside.iter().map(|row| row.id).collect::<Vec<_>>();
        let aside = ids(rows.set_aside(None, 100).expect("a list"));
        assert_eq!(aside.len(), 3);
        assert_eq!(rows.retry_all().expect("done"), 3);
        flush(&table);
        assert_eq!(ids(rows.set_aside(None, 100).expect("a list")), aside);
        drop(table);
        world.rules("app.>");
        let table = world.table();
        assert_eq!(rows.discard(&[aside[1], -5]).expect("done"), 1);
        assert_eq!(rows.retry(&aside).expect("done"), 2);
        flush(&table);
        assert_eq!(world.numbers(), [1, 2, 4]);
        assert_eq!(rows.set_aside(None, 100).expect("a list"), []);
        assert_eq!(rows.retry(&[]).expect("done") + rows.discard(&[1]).expect("done"), 0);
    }
}

#[test]
fn an_identifier_of_another_message_is_no_second_receipt() {
    for world in World::all() {
        let table = world.table();
        for (id, n) in [("one", 1), ("one", 2), ("one", 1)] {
            world.application().run(&format!(
                "INSERT INTO fedmsg_outbox (topic, body, msg_id) VALUES ('app.n', '{{\"n\":{n}}}', '{id}')"
            ));
            flush(&table);
            let aside = world.rows().set_aside(None, 10).expect("a list");
            world
                .rows()
                .discard(&aside.iter().map(|row| row.id).collect::<Vec<_>>())
                .expect("done");
            match n {
                1 => assert_eq!(aside, []),
                _ => assert!(aside[0].why.contains("msg_id one was used"), "{aside:?}"),
            }
        }
        assert_eq!(world.numbers(), [1]);
    }
}
