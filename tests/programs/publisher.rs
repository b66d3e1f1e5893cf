//! A service for tests: `publisher CONFIG_DIR IDENTITY`. It says `ready STREAM EPOCH direct|relayed`, then
//! for each line `TOPIC JSON` of stdin it publishes, and says `sent STREAM EPOCH I RELAY` or `failed WHY`.
//!
//! `many COUNT TOPIC TAG BYTES` publishes so many messages `{"tag":TAG,"n":1,"pad":…}`, `n` from 1 on, with 64 of
//! them waiting for their answers at any time, which are said in their order.

use std::collections::VecDeque;
use std::error::Error;
use std::io::BufRead;
use std::path::PathBuf;
use std::time::Duration;

use fedmsg::config::LoadOptions;
use fedmsg::{Draft, Identity, PublishError, Publisher, Receipt};

/// Messages of `many` that wait for their answers.
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
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["subscribers", count] => {
                let there = publisher.wait_for_subscribers(count.parse()?, Duration::from_secs(20));
                println!("subscribers {there}");
            }
            ["many", count, topic, tag, bytes] => {
                many(&publisher, count.parse()?, topic, tag, bytes.parse()?);
            }
            _ => {
                let (topic, body) = line.split_once(' ').ok_or("TOPIC JSON")?;
                say(publisher.publish(Draft::new(topic).raw_body(body)).wait());
            }
        }
    }
    publisher.close();
    println!("closed");
    Ok(())
}

fn many(publisher: &Publisher, count: u64, topic: &str, tag: &str, bytes: usize) {
    let pad = "x".repeat(bytes);
    let mut waiting = VecDeque::with_capacity(WAITING);
    for n in 1..=count {
        if waiting.len() == WAITING
            && let Some(ticket) = waiting.pop_front()
        {
            said(ticket);
        }
        let body = format!("{{\"tag\":\"{tag}\",\"n\":{n},\"pad\":\"{pad}\"}}");
        waiting.push_back(publisher.enqueue(Draft::new(topic).raw_body(body)));
    }
    waiting.into_iter().for_each(said);
}

fn said(ticket: Result<fedmsg::publisher::Ticket, PublishError>) {
    say(ticket.and_then(fedmsg::publisher::Ticket::wait));
}

fn say(sent: Result<Receipt, PublishError>) {
    match sent {
        Ok(receipt) => {
            let relay = receipt.relay.map_or("-".into(), |relay| relay.to_string());
            println!("sent {} {} {} {relay}", receipt.stream, receipt.epoch, receipt.i);
        }
        Err(error) => println!("failed {error}"),
    }
}
