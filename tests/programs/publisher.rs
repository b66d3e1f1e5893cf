//! A service for tests: `publisher CONFIG_DIR IDENTITY`. It says `ready STREAM EPOCH direct|relayed`, then
//! for each line `TOPIC JSON` of stdin it publishes, and says `sent STREAM EPOCH I RELAY` or `failed WHY`; where the
//! receipt names copies, `LEVEL:HOLDER,HOLDER` in the place of the relay.
//! `id MSG_ID TOPIC JSON` does the same under an identifier. `many COUNT TOPIC JSON` publishes so often as fast
//! as it goes, and says `sent` for the last one. `each COUNT TOPIC TAG BYTES` publishes messages
//! `{"tag":TAG,"n":1,"pad":…}`, `n` from 1 on, with 64 of them waiting for their answers at any time, and says
//! in their order what came of each.

use std::collections::VecDeque;
use std::error::Error;
use std::io::BufRead;
use std::path::PathBuf;
use std::time::Duration;

use fedmsg::config::LoadOptions;
use fedmsg::publisher::Ticket;
use fedmsg::{Draft, Identity, PublishError, Publisher, Receipt};

/// Messages of `each` that wait for their answers.
const WAITING: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().collect();
    let [_, folder, identity] = &words[..] else { return Err("CONFIG_DIR IDENTITY".into()) };
    let load = LoadOptions { folder: Some(PathBuf::from(folder)), ..LoadOptions::default() };
    let publisher = Publisher::builder().load(load).identity(Identity::parse(identity)?).build()?;
    let way = if publisher.is_relayed() { "relayed" } else { "direct" };
    println!("ready {} {} {way}", publisher.stream(), publisher.epoch());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if let Some(count) = line.strip_prefix("subscribers ") {
            let there = publisher.wait_for_subscribers(count.parse()?, Duration::from_secs(20));
            println!("subscribers {there}");
            continue;
        }
        if let Some(words) = line.strip_prefix("many ") {
            let mut words = words.splitn(3, ' ');
            let mut word = || words.next().ok_or("many COUNT TOPIC JSON");
            let (count, topic, body) = (word()?.parse::<u64>()?, word()?, word()?);
            many(&publisher, count, topic, body)?;
            continue;
        }
        if let Some(words) = line.strip_prefix("each ") {
            let words: Vec<&str> = words.split(' ').collect();
            let [count, topic, tag, bytes] = words[..] else { return Err("each COUNT …".into()) };
            each(&publisher, count.parse()?, topic, tag, bytes.parse()?);
            continue;
        }
        let (id, rest) = match line.strip_prefix("id ").and_then(|rest| rest.split_once(' ')) {
            Some((id, rest)) => (Some(id), rest),
            None => (None, &line[..]),
        };
        let (topic, body) = rest.split_once(' ').ok_or("TOPIC JSON")?;
        let draft = Draft::new(topic).raw_body(body);
        let draft = if let Some(id) = id { draft.msg_id(id) } else { draft };
        say(publisher.publish(draft).wait());
    }
    publisher.close();
    println!("closed");
    Ok(())
}

/// Publishes `count` times with up to 1,000 receipts outstanding.
fn many(publisher: &Publisher, count: u64, topic: &str, body: &str) -> Result<(), Box<dyn Error>> {
    let mut waiting = VecDeque::new();
    let mut last = None;
    for _ in 0..count {
        waiting.push_back(publisher.enqueue(Draft::new(topic).raw_body(body))?);
        if waiting.len() >= 1_000 {
            last = waiting.pop_front().map(|ticket| ticket.wait()).transpose()?;
        }
    }
    for ticket in waiting {
        last = Some(ticket.wait()?);
    }
    let receipt = last.ok_or("at least one")?;
    println!("sent {} {} {} -", receipt.stream, receipt.epoch, receipt.i);
    Ok(())
}

/// Publishes `count` times with up to 64 receipts outstanding, and says each of them.
fn each(publisher: &Publisher, count: u64, topic: &str, tag: &str, bytes: usize) {
    let told = |ticket: Result<Ticket, PublishError>| say(ticket.and_then(Ticket::wait));
    let pad = "x".repeat(bytes);
    let mut waiting = VecDeque::with_capacity(WAITING);
    for n in 1..=count {
        if waiting.len() == WAITING
            && let Some(ticket) = waiting.pop_front()
        {
            told(ticket);
        }
        let body = format!("{{\"tag\":\"{tag}\",\"n\":{n},\"pad\":\"{pad}\"}}");
        waiting.push_back(publisher.enqueue(Draft::new(topic).raw_body(body)));
    }
    waiting.into_iter().for_each(told);
}

fn say(sent: Result<Receipt, PublishError>) {
    match sent {
        Ok(receipt) => {
            let names: Vec<&str> = receipt.copies.iter().map(Identity::as_str).collect();
            let relay = match (&receipt.relay, names.is_empty()) {
                (Some(relay), _) => relay.to_string(),
                (None, true) => "-".into(),
                (None, false) => format!("{}:{}", receipt.level, names.join(",")),
            };
            println!("sent {} {} {} {relay}", receipt.stream, receipt.epoch, receipt.i);
        }
        Err(error) => println!("failed {error}"),
    }
}
