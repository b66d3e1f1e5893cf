//! Producers that seal their messages and leave it to others to put them.

use std::path::Path;
use std::sync::Arc;

use fedmsg::envelope::{Epoch, Wire};
use fedmsg::merkle::Leaf;
use fedmsg::record::{After, Level};
use fedmsg::seal::{Sealer, check};
use fedmsg::timestamp::Timestamp;
use fedmsg::{Config, Draft, Identity, StreamName};

use super::super::Error;
use super::load;

/// The writers of many streams, in one process.
pub(super) struct Producers {
    config: Arc<Config>,
    streams: Vec<Stream>,
    pad: String,
}

struct Stream {
    identity: Identity,
    sealer: Sealer,
    /// It goes before the first message.
    genesis: Option<Wire>,
    next: u64,
}

impl Producers {
    /// So many streams, those of each identity numbered by slots; bodies of so many bytes.
    pub(super) fn new(
        config_dir: &Path,
        identities: &[String],
        streams: usize,
        size: usize,
    ) -> Result<Producers, Error> {
        let config = load(config_dir)?;
        let mut keys = Vec::new();
        for name in identities {
            let identity = Identity::parse(name).map_err(Error::other)?;
            let key = config.secret_key(&identity).map_err(Error::other)?;
            keys.push((identity, Arc::new(key)));
        }
        let open = |at: usize| {
            let (identity, key) = &keys[at % keys.len()];
            let name = format!("{identity}/{}", at / keys.len());
            let name = StreamName::parse(&name).map_err(Error::other)?;
            let epoch = Epoch::next(Timestamp::from(std::time::SystemTime::now()), [7; 10], None);
            let before = (After::Nothing, Leaf::NONE);
            let (key, time) = (Arc::clone(key), std::time::SystemTime::now().into());
            let (sealer, genesis) =
                Sealer::open_epoch(key, name, epoch, before, Level::Memory, time);
            let (identity, genesis) = (identity.clone(), Some(genesis.wire));
            Ok(Stream { identity, sealer, genesis, next: 0 })
        };
        let streams = (0..streams).map(open).collect::<Result<_, Error>>()?;
        Ok(Producers { config, streams, pad: "x".repeat(size.saturating_sub(20)) })
    }

    /// The next messages of a stream, with its genesis record before the first one.
    pub(super) fn seal(&mut self, stream: usize, count: usize) -> Result<Vec<Wire>, Error> {
        let Producers { config, streams, pad } = self;
        let stream = &mut streams[stream];
        let mut checked = Vec::with_capacity(count);
        for _ in 0..count {
            let body = serde_json::json!({ "n": stream.next, "pad": pad });
            let draft = Draft::new("bench.message").body(&body);
            let id = format!("2026-{}-{}", stream.sealer.stream(), stream.next);
            let one = check(draft, &stream.identity, &config.trust, || id);
            checked.push(one.map_err(Error::other)?);
            stream.next += 1;
        }
        let sealed = stream.sealer.seal(&checked, std::time::SystemTime::now().into());
        let messages = sealed.into_iter().map(|sealed| sealed.wire);
        Ok(stream.genesis.take().into_iter().chain(messages).collect())
    }
}
