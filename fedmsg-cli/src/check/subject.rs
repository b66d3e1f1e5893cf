//! What a check is about: a service, an identity, or a stream.

use std::fmt;

use fedmsg::{Config, Identity, StreamName};

/// A service, one identity of it, or one stream of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Service(String),
    Identity(Identity),
    Stream(StreamName),
}

/// Why a text names nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no service, no identity SERVICE.INSTANCE and no stream IDENTITY/SLOT")]
pub(super) struct SubjectError(String);

impl Subject {
    pub(super) fn parse(text: &str) -> Result<Subject, SubjectError> {
        let bad = || SubjectError(text.into());
        if text.contains('/') {
            return StreamName::parse(text).map(Subject::Stream).map_err(|_| bad());
        }
        if text.contains('.') {
            return Identity::parse(text).map(Subject::Identity).map_err(|_| bad());
        }
        // A service is what can stand before an instance.
        match Identity::parse(&format!("{text}.x")) {
            Ok(identity) if identity.service() == text => Ok(Subject::Service(text.into())),
            _ => Err(bad()),
        }
    }

    pub(super) fn includes(&self, stream: &StreamName) -> bool {
        match self {
            Subject::Service(service) => stream.identity().service() == service,
            Subject::Identity(identity) => stream.identity() == identity,
            Subject::Stream(one) => one == stream,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Service(service) => f.write_str(service),
            Subject::Identity(identity) => identity.fmt(f),
            Subject::Stream(stream) => stream.fmt(f),
        }
    }
}

/// The host of an identity: that of its addresses, otherwise what its name says.
pub(super) fn host_of(config: &Config, identity: &Identity) -> String {
    let entry = config.endpoints.get(identity);
    let addresses = entry.into_iter().flat_map(|entry| entry.publish.iter().chain(&entry.replay));
    let host = addresses.filter_map(|address| address.host()).next();
    let instance = || identity.as_str().split_once('.').map_or("", |(_, instance)| instance);
    host.unwrap_or_else(instance).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    #[test]
    fn a_subject_is_read_from_its_form() {
        let stream = StreamName::parse("app.one/0").expect("a stream");
        for (text, includes) in [
            ("app", true),
            ("app.one", true),
            ("app.one/0", true),
            ("web", false),
            ("app.two", false),
            ("app.one/1", false),
        ] {
            let subject = Subject::parse(text).expect("a subject");
            assert_eq!((subject.includes(&stream), subject.to_string().as_str()), (includes, text));
        }
        for bad in ["", "App", "app.", "app/0", "app.one/x y", "a b"] {
            assert!(Subject::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_host_is_that_of_the_addresses_or_what_the_name_says() {
        let config =
            config(&[("bus.toml", "[endpoints.\"app.one\"]\npublish = \"tcp://web01:1\"\n")]);
        let host = |text| host_of(&config, &Identity::parse(text).expect("an identity"));
        assert_eq!(
            (host("app.one"), host("app.two.example")),
            ("web01".into(), "two.example".into())
        );
    }
}
