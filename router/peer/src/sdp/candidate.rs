//! Which of a peer's ICE candidates the stack gets to see.

use crate::PeerError;
use std::net::IpAddr;

/// Remote candidates of a connection, and of a description; a browser on a machine with many interfaces has about 30.
pub(crate) const MAX_CANDIDATES: usize = 64;
/// Bytes of one; an IPv6 relay candidate with extensions has about 200.
const MAX_LEN: usize = 512;

/// Whether a well-formed candidate is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usable {
    /// Give it to the stack.
    Yes,
    /// Not an error, but of no use: TCP (the stack would connect to wherever it says), RTCP's own
    /// component (we multiplex), a name (we ask no DNS).
    No,
}

/// Checks a candidate, with or without its leading `candidate:`.
pub(crate) fn usable(candidate: &str, mdns: bool) -> Result<Usable, PeerError> {
    let refused = |reason: &str| Err(PeerError::Candidate(reason.to_owned()));
    if candidate.len() > MAX_LEN {
        return refused("longer than 512 bytes");
    }
    if !candidate.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return refused("not printable ASCII");
    }
    let text = candidate.strip_prefix("a=").unwrap_or(candidate);
    let text = text.strip_prefix("candidate:").unwrap_or(text);
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [foundation, component, transport, priority, address, port, typ, kind, rest @ ..] =
        words.as_slice()
    else {
        return refused("too few words");
    };
    if foundation.len() > 32 {
        return refused("the foundation is longer than 32 characters");
    }
    if priority.parse::<u32>().is_err() || component.parse::<u16>().is_err() {
        return refused("component or priority is not a number");
    }
    let Ok(port) = port.parse::<u16>() else { return refused("the port is not a number") };
    if *typ != "typ" || !matches!(*kind, "host" | "srflx" | "prflx" | "relay") {
        return refused("the type is neither host, srflx, prflx nor relay");
    }
    if rest.len() % 2 != 0 {
        return refused("an extension without a value");
    }
    if !transport.eq_ignore_ascii_case("udp") || *component != "1" || port == 0 {
        return Ok(Usable::No);
    }
    match address.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() || address.is_multicast() => Ok(Usable::No),
        Ok(_) => Ok(Usable::Yes),
        Err(_) if mdns && address.ends_with(".local") => Ok(Usable::Yes),
        Err(_) => Ok(Usable::No),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_udp_addresses_reach_the_stack() {
        let host = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host generation 0";
        assert_eq!(usable(host, false), Ok(Usable::Yes));
        for idle in [
            "candidate:1 1 tcp 2130706431 192.0.2.1 5000 typ host tcptype passive",
            "candidate:1 2 udp 2130706431 192.0.2.1 5000 typ host",
            "candidate:1 1 udp 2130706431 metadata.internal 80 typ host",
            "candidate:1 1 udp 2130706431 0.0.0.0 80 typ host",
            "candidate:1 1 udp 2130706431 d3b0.local 80 typ host",
        ] {
            assert_eq!(usable(idle, false), Ok(Usable::No), "{idle}");
        }
        assert_eq!(usable("1 1 udp 1 d3b0.local 80 typ host", true), Ok(Usable::Yes));
        for bad in [
            "",
            "candidate:",
            "1 1 udp x 192.0.2.1 5000 typ host",
            "1 1 udp 1 192.0.2.1 99999 typ host",
            "1 1 udp 1 192.0.2.1 5000 typ wild",
        ] {
            assert!(usable(bad, false).is_err(), "{bad}");
        }
        assert!(usable(&format!("{host}{}", " x y".repeat(200)), false).is_err());
    }
}
