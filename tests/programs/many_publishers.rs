//! A host with many services, for tests: `many_publishers CONFIG_DIR SLOTS IDENTITY…`, so many slots of each
//! identity. It says `ready`, and for each line of stdin:
//!
//! - `publish FROM TO`: every stream gets messages `{"n":N}` with these numbers; `published` when all are kept.
//! - `requests`: an object of the requests that came, by their verb.

#[path = "load/counted.rs"]
mod counted;
#[path = "load/descriptors.rs"]
mod descriptors;

use std::error::Error;
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use fedmsg::config::{Config, LoadOptions};
use fedmsg::{Draft, Identity, Publisher};

use counted::{Counted, Requests};

fn main() -> Result<(), Box<dyn Error>> {
    descriptors::many()?;
    let words: Vec<String> = std::env::args().collect();
    let [_, folder, slots, identities @ ..] = &words[..] else {
        return Err("CONFIG_DIR SLOTS IDENTITY…".into());
    };
    let load = LoadOptions { folder: Some(PathBuf::from(folder)), ..LoadOptions::default() };
    let config = Arc::new(Config::load(&load)?);
    let requests = Requests::default();
    let transport = Arc::new(Counted::new(&requests));
    let mut publishers = Vec::new();
    for identity in identities {
        for _ in 0..slots.parse::<usize>()? {
            let publisher = Publisher::builder().config(Arc::clone(&config));
            let publisher = publisher.transport(transport.clone());
            publishers.push(publisher.identity(Identity::parse(identity)?).build()?);
        }
    }
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["publish", from, to] => {
                publish(&publishers, from.parse()?, to.parse()?)?;
                println!("published");
            }
            ["requests"] => {
                let requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
                println!("{}", serde_json::to_string(&*requests)?);
            }
            _ => return Err(line.into()),
        }
    }
    Ok(())
}

fn publish(publishers: &[Publisher], from: u64, to: u64) -> Result<(), Box<dyn Error>> {
    let mut tickets = Vec::new();
    for publisher in publishers {
        let service = publisher.identity().as_str().split('.').next().unwrap_or_default();
        for n in from..=to {
            let draft = Draft::new(format!("{service}.n")).raw_body(format!("{{\"n\":{n}}}"));
            tickets.push(publisher.enqueue(draft)?);
        }
    }
    for ticket in tickets {
        ticket.wait()?;
    }
    Ok(())
}
