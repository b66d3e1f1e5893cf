//! Publishers, subscribers and durable consumers in tasks: as futures and streams, under tokio.

use std::time::Duration;

use fedmsg::consumer::Start;
use fedmsg::durable::DurableEvent;
use fedmsg::{Draft, Durable, Event, Publisher, Subscriber};
use futures_util::{Stream, StreamExt};
use serde_json::json;

use crate::world::{PATIENCE, World, n};

/// Publishes these, each after the answer to the one before.
async fn publish(publisher: &Publisher, numbers: std::ops::RangeInclusive<u64>) {
    for i in numbers {
        let receipt = publisher.publish(Draft::new("app.n").body(&json!({ "n": i })));
        assert_eq!(receipt.await.expect("published").i, i);
    }
}

/// What comes within the patience of these tests.
async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time")
}

/// The numbers of the next messages, each acknowledged.
async fn take(badges: &mut Durable, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        if let DurableEvent::Delivery(delivery) = next(badges).await.expect("not the end") {
            numbers.push(n(&delivery));
            delivery.ack();
        }
    }
    numbers
}

/// Dropping waits for the store, which is no work for a task.
async fn end(badges: Durable) {
    tokio::task::spawn_blocking(move || drop(badges)).await.expect("dropped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_takes_deliveries_while_another_one_publishes() {
    let world = World::new();
    let publisher = world.publisher("app.one");
    let mut badges = world.builder().start(Start::Earliest).build().expect("a consumer");
    let publishing = tokio::spawn(async move {
        publish(&publisher, 1..=200).await;
        publisher
    });
    assert_eq!(take(&mut badges, 200).await, (1..=200).collect::<Vec<_>>());
    let publisher = publishing.await.expect("it did not panic");
    end(badges).await;
    assert_eq!(world.cursor(), Some(200));
    tokio::task::spawn_blocking(move || publisher.close()).await.expect("closed");
}

#[tokio::test]
async fn one_thread_is_enough_and_a_wait_that_is_given_up_loses_nothing() {
    let world = World::new();
    let publisher = world.publisher("app.one");
    let mut badges = world.builder().start(Start::Earliest).build().expect("a consumer");
    let mut numbers = Vec::new();
    let (publishing, taking) = (publish(&publisher, 1..=50), async {
        while numbers.len() < 50 {
            // Again and again the wait is dropped, often in the moment in which something comes.
            let wait = Duration::from_micros(50 * (numbers.len() as u64 % 7));
            match tokio::time::timeout(wait, badges.next()).await {
                Ok(Some(DurableEvent::Delivery(delivery))) => {
                    numbers.push(n(&delivery));
                    delivery.ack();
                }
                Ok(Some(_)) | Err(_) => tokio::task::yield_now().await,
                Ok(None) => panic!("the end"),
            }
        }
    });
    let both = async { tokio::join!(publishing, taking) };
    tokio::time::timeout(PATIENCE, both).await.expect("in time");
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
    end(badges).await;
}

#[tokio::test]
async fn a_stream_ends_when_it_is_closed_and_wakes_the_task_that_waits() {
    let world = World::new();
    let mut badges = world.badges();
    let mut subscriber = world.subscriber();
    let (of_durable, of_subscriber) = (badges.closer(), subscriber.closer());
    // Both wait for something that never comes.
    let waiting = tokio::spawn(async move {
        while let Some(event) = badges.next().await {
            assert!(!matches!(event, DurableEvent::Delivery(_)), "{event:?}");
        }
        while let Some(event) = subscriber.next().await {
            assert!(!matches!(event, Event::Message(_)), "{event:?}");
        }
        end(badges).await;
    });
    tokio::task::yield_now().await;
    of_durable.close();
    of_subscriber.close();
    tokio::time::timeout(PATIENCE, waiting).await.expect("in time").expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_is_a_stream_with_the_combinators_of_streams() {
    let world = World::new();
    let publisher = world.publisher("app.one");
    let subscriber: Subscriber = world.subscriber();
    let there = tokio::task::spawn_blocking(move || {
        assert!(publisher.wait_for_subscribers(1, PATIENCE), "it subscribes");
        publisher
    });
    let publisher = there.await.expect("there");
    let numbers = subscriber.filter_map(|event| async {
        match event {
            Event::Message(message) => {
                let body: serde_json::Value = message.body().expect("JSON");
                body["n"].as_u64()
            }
            _ => None,
        }
    });
    let taking = numbers.take(100).collect::<Vec<u64>>();
    let taking = tokio::spawn(tokio::time::timeout(PATIENCE, taking));
    publish(&publisher, 1..=100).await;
    assert_eq!(taking.await.expect("no panic").expect("in time"), (1..=100).collect::<Vec<_>>());
}
