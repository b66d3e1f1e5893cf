//! `--status`: where it is served. Pure.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

/// An address for HTTP: numbers alone, so that nothing has to be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusAddress(pub SocketAddr);

/// A text that is no such address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a port nor IP:PORT, such as 9462, 127.0.0.1:9462 or [::1]:9462")]
pub struct AddressError(String);

impl StatusAddress {
    /// Reads a port, which is one of 127.0.0.1, or an address and a port. Port 0 is one that is free.
    pub fn parse(text: &str) -> Result<StatusAddress, AddressError> {
        let port = text.parse().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let address = port.or_else(|_| text.parse());
        address.map(StatusAddress).map_err(|_| AddressError(text.into()))
    }
}

impl fmt::Display for StatusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused() {
        for (text, expected) in [
            ("9462", Some("127.0.0.1:9462")),
            ("0", Some("127.0.0.1:0")),
            ("127.0.0.1:9462", Some("127.0.0.1:9462")),
            ("[::1]:9462", Some("[::1]:9462")),
            ("0.0.0.0:9462", Some("0.0.0.0:9462")),
            ("", None),
            ("65536", None),
            ("localhost:9462", None),
            ("::1", None),
            ("127.0.0.1", None),
            ("-1", None),
        ] {
            let address = StatusAddress::parse(text).ok().map(|address| address.to_string());
            assert_eq!(address.as_deref(), expected, "{text}");
        }
    }
}
