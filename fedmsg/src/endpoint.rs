//! Addresses that sockets bind and connect to, and the ranges that configuration writes them in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use crate::limits::{ENDPOINT_RANGE_MAX, HOST_BYTES_MAX, IPC_PATH_BYTES_MAX};

/// One 0mq address: `tcp://host:port`, `tcp://[::1]:port` or `ipc:///absolute/path`. Cheap to clone.
///
/// Host names are kept in lower case and IPv6 numbers in their shortest form, so that one address has one
/// text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint(Address);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Address {
    Tcp { host: Arc<str>, port: u16 },
    Ipc(Arc<str>),
}

/// Why a text is no endpoint. Every variant names the offending part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Neither `tcp://` nor `ipc://`.
    #[error("`{0}` is no endpoint: `tcp://host:port` or `ipc:///path` is expected")]
    BadScheme(String),
    /// No port behind the host.
    #[error("`{0}` has no port: `tcp://host:port` is expected")]
    NoPort(String),
    /// Something that is not a number from 0 to 65535.
    #[error("`{text}`: `{port}` is no port: a number from 0 to 65535 is expected")]
    BadPort {
        /// The whole text.
        text: String,
        /// The part that should be a port.
        port: String,
    },
    /// Neither a host name nor an IP number.
    #[error(
        "`{text}`: `{host}` is no host: a name, an IPv4 number or [an IPv6 number] is expected"
    )]
    BadHost {
        /// The whole text.
        text: String,
        /// The part that should be a host.
        host: String,
    },
    /// `*`, `0.0.0.0` or `[::]`: others have to connect to the same address.
    #[error("`{text}`: nobody can connect to `{host}`: write the name of the machine")]
    AnyHost {
        /// The whole text.
        text: String,
        /// The host.
        host: String,
    },
    /// An ipc path that is not absolute, or names no file.
    #[error("`{0}`: an ipc path is absolute and names a file: `ipc:///run/fedmsg/x.sock`")]
    BadPath(String),
    /// An ipc path that the kernel could not take.
    #[error("`{text}`: the ipc path has {bytes} bytes; at most {IPC_PATH_BYTES_MAX} are allowed")]
    LongPath {
        /// The whole text.
        text: String,
        /// The length of its path.
        bytes: usize,
    },
    /// A range that runs backwards.
    #[error("`{text}`: the range {first}-{last} is empty")]
    EmptyRange {
        /// The whole text.
        text: String,
        /// Its first port.
        first: u16,
        /// Its last port.
        last: u16,
    },
    /// A range of too many ports.
    #[error("`{text}` has {count} ports; at most {ENDPOINT_RANGE_MAX} are allowed")]
    LongRange {
        /// The whole text.
        text: String,
        /// How many it has.
        count: usize,
    },
}

impl Endpoint {
    /// Reads one endpoint. Port 0 is a port that the system chooses when it is bound.
    pub fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        if let Some(path) = text.strip_prefix("ipc://") {
            return ipc(text, path);
        }
        let (host, port) = tcp_parts(text)?;
        Ok(Endpoint(Address::Tcp { host, port: parse_port(text, port)? }))
    }

    /// Reads an endpoint or a range of ports: `tcp://backend01:3000-3015` is sixteen endpoints.
    pub fn parse_range(text: &str) -> Result<Vec<Endpoint>, EndpointError> {
        if text.starts_with("ipc://") {
            return Endpoint::parse(text).map(|endpoint| vec![endpoint]);
        }
        let (host, ports) = tcp_parts(text)?;
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last) = (parse_port(text, first)?, parse_port(text, last)?);
        if first > last {
            return Err(EndpointError::EmptyRange { text: text.into(), first, last });
        }
        let count = usize::from(last - first) + 1;
        if count > ENDPOINT_RANGE_MAX {
            return Err(EndpointError::LongRange { text: text.into(), count });
        }
        let endpoint = |port| Endpoint(Address::Tcp { host: host.clone(), port });
        Ok((first..=last).map(endpoint).collect())
    }

    /// The host of a tcp endpoint; an IPv6 number without its brackets.
    pub fn host(&self) -> Option<&str> {
        match &self.0 {
            Address::Tcp { host, .. } => Some(host),
            Address::Ipc(_) => None,
        }
    }

    /// The port of a tcp endpoint.
    pub fn port(&self) -> Option<u16> {
        match &self.0 {
            Address::Tcp { port, .. } => Some(*port),
            Address::Ipc(_) => None,
        }
    }

    /// The path of an ipc endpoint.
    pub fn ipc_path(&self) -> Option<&Path> {
        match &self.0 {
            Address::Tcp { .. } => None,
            Address::Ipc(path) => Some(Path::new(&**path)),
        }
    }

    /// Whether only this machine can reach it: ipc, `localhost`, 127.0.0.0/8 and ::1.
    pub fn is_loopback(&self) -> bool {
        match self.host() {
            None | Some("localhost") => true,
            Some(host) => host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
        }
    }
}

fn ipc(text: &str, path: &str) -> Result<Endpoint, EndpointError> {
    if path.len() > IPC_PATH_BYTES_MAX {
        return Err(EndpointError::LongPath { text: text.into(), bytes: path.len() });
    }
    let names_file = path.starts_with('/') && !path.ends_with('/');
    if !names_file || path.chars().any(char::is_control) {
        return Err(EndpointError::BadPath(text.escape_debug().to_string()));
    }
    Ok(Endpoint(Address::Ipc(path.into())))
}

/// The host, checked, and whatever stands behind its colon.
fn tcp_parts(text: &str) -> Result<(Arc<str>, &str), EndpointError> {
    let Some(rest) = text.strip_prefix("tcp://") else {
        return Err(EndpointError::BadScheme(text.escape_debug().to_string()));
    };
    let Some((host, port)) = rest.rsplit_once(':') else {
        return Err(EndpointError::NoPort(text.escape_debug().to_string()));
    };
    // The last colon of `[::1]` is no border between host and port.
    if port.contains(']') {
        return Err(EndpointError::NoPort(text.escape_debug().to_string()));
    }
    Ok((parse_host(text, host)?, port))
}

fn parse_port(text: &str, port: &str) -> Result<u16, EndpointError> {
    let digits = !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit());
    digits.then(|| port.parse().ok()).flatten().ok_or_else(|| EndpointError::BadPort {
        text: text.escape_debug().to_string(),
        port: port.escape_debug().to_string(),
    })
}

fn parse_host(text: &str, host: &str) -> Result<Arc<str>, EndpointError> {
    let bad = || EndpointError::BadHost {
        text: text.escape_debug().to_string(),
        host: host.escape_debug().to_string(),
    };
    let any = || EndpointError::AnyHost { text: text.into(), host: host.into() };
    if host == "*" {
        return Err(any());
    }
    if let Some(number) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let number: Ipv6Addr = number.parse().map_err(|_| bad())?;
        return if number.is_unspecified() { Err(any()) } else { Ok(number.to_string().into()) };
    }
    let host = host.to_ascii_lowercase();
    if let Ok(number) = host.parse::<Ipv4Addr>() {
        return if number.is_unspecified() { Err(any()) } else { Ok(host.into()) };
    }
    if is_host_name(&host) { Ok(host.into()) } else { Err(bad()) }
}

/// Labels of letters, digits, `-` and `_`. A last label of digits alone would be read as an IPv4 number by
/// some and as a name by others.
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        !label.is_empty() && !label.starts_with('-') && label.bytes().all(plain)
    };
    let digits = |label: &str| label.bytes().all(|c| c.is_ascii_digit());
    host.len() <= HOST_BYTES_MAX
        && host.split('.').all(label)
        && !host.rsplit('.').next().is_some_and(digits)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Address::Ipc(path) => write!(f, "ipc://{path}"),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

impl std::str::FromStr for Endpoint {
    type Err = EndpointError;
    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_print_as_they_are_read() {
        for (text, host, port, loopback) in [
            ("tcp://backend01:3000", Some("backend01"), Some(3000), false),
            ("tcp://a-b.example.org:1", Some("a-b.example.org"), Some(1), false),
            ("tcp://127.0.0.1:0", Some("127.0.0.1"), Some(0), true),
            ("tcp://localhost:65535", Some("localhost"), Some(65535), true),
            ("tcp://[::1]:9", Some("::1"), Some(9), true),
            ("tcp://[2001:db8::1]:9", Some("2001:db8::1"), Some(9), false),
            ("ipc:///run/fedmsg/relay.sock", None, None, true),
        ] {
            let endpoint = Endpoint::parse(text).expect(text);
            assert_eq!(endpoint.to_string(), text);
            assert_eq!((endpoint.host(), endpoint.port()), (host, port), "{text}");
            assert_eq!(endpoint.is_loopback(), loopback, "{text}");
            assert_eq!(endpoint.ipc_path().is_some(), host.is_none());
            assert_eq!(Endpoint::parse_range(text), Ok(vec![endpoint]));
        }
        let same = [("tcp://Host:1", "tcp://host:1"), ("tcp://[0:0::1]:1", "tcp://[::1]:1")];
        for (a, b) in same {
            assert_eq!(Endpoint::parse(a), Endpoint::parse(b));
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_by_name() {
        let long = format!("ipc:///{}", "x".repeat(100));
        for (text, part) in [
            ("", "`` is no endpoint"),
            ("udp://a:1", "`udp://a:1` is no endpoint"),
            ("tcp://a", "no port"),
            ("tcp://[::1]", "no port"),
            ("tcp://a:", "`` is no port"),
            ("tcp://a:65536", "`65536`"),
            ("tcp://a:+1", "`+1`"),
            ("tcp://a:1-2", "`1-2`"),
            ("tcp://:1", "`` is no host"),
            ("tcp://*:1", "nobody can connect to `*`"),
            ("tcp://0.0.0.0:1", "nobody can connect"),
            ("tcp://[::]:1", "nobody can connect"),
            ("tcp://::1:1", "`::1` is no host"),
            ("tcp://[x]:1", "`[x]` is no host"),
            ("tcp://127.1:1", "`127.1` is no host"),
            ("tcp://a b:1", "`a b`"),
            ("tcp://a..b:1", "`a..b`"),
            ("tcp://-a:1", "`-a`"),
            ("ipc://run/x", "absolute"),
            ("ipc:///run/", "names a file"),
            ("ipc:///a\nb", "absolute"),
            (&long, "101 bytes"),
        ] {
            let error = Endpoint::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_range_is_one_endpoint_for_each_port() {
        let range = Endpoint::parse_range("tcp://[::1]:3000-3002").expect("range");
        let text: Vec<String> = range.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["tcp://[::1]:3000", "tcp://[::1]:3001", "tcp://[::1]:3002"]);
        assert_eq!(Endpoint::parse_range("tcp://a:1-1000").map(|range| range.len()), Ok(1000));
        for (text, part) in [
            ("tcp://a:3-2", "3-2 is empty"),
            ("tcp://a:1-1001", "1001 ports"),
            ("tcp://a:1-", "`` is no port"),
            ("tcp://a:1-2-3", "`2-3` is no port"),
        ] {
            let error = Endpoint::parse_range(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_read_prints_as_it_is_read(
            text in "(tcp|ipc)://(\\PC{0,12}|[a-z0-9.-]{1,8}|\\[[0-9a-f:]{2,8}\\]|/[a-z/]{1,9})(:[0-9]{1,6})?"
        ) {
            if let Ok(endpoint) = Endpoint::parse(&text) {
                let again = Endpoint::parse(&endpoint.to_string());
                proptest::prop_assert_eq!(again, Ok(endpoint));
            }
        }
    }
}
