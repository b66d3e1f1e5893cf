//! Part of fedmsg.
