//! A service for tests: `publisher CONFIG_DIR IDENTITY`. It says `ready STREAM EPOCH direct|relayed`, then
//! for each line `TOPIC JSON` of stdin it publishes, and says `sent STREAM EPOCH I RELAY`. `id MSG_ID TOPIC JSON`
//! does the same under an identifier.

use std::error::Error;
use std::io::BufRead;
use std::path::PathBuf;
use std::time::Duration;

use fedmsg::config::LoadOptions;
use fedmsg::{Draft, Identity, Publisher};

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
        let (id, rest) = match line.strip_prefix("id ").and_then(|rest| rest.split_once(' ')) {
            Some((id, rest)) => (Some(id), rest),
            None => (None, &line[..]),
        };
        let (topic, body) = rest.split_once(' ').ok_or("TOPIC JSON")?;
        let draft = Draft::new(topic).raw_body(body);
        let draft = if let Some(id) = id { draft.msg_id(id) } else { draft };
        let sent = publisher.publish(draft).wait();
        match sent {
            Ok(receipt) => {
                let relay = receipt.relay.map_or("-".into(), |relay| relay.to_string());
                println!("sent {} {} {} {relay}", receipt.stream, receipt.epoch, receipt.i);
            }
            Err(error) => println!("failed {error}"),
        }
    }
    publisher.close();
    println!("closed");
    Ok(())
}
