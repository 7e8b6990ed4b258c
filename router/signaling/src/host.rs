//! Who may speak to this port: `Host` must be one of our names, `Origin` the same, loopback, or listed.
//!
//! A web page from elsewhere can make a browser on this machine connect here; its `Origin` gives it away. A page whose
//! name is made to point at this machine (DNS rebinding) has the right origin by its own lights; its `Host` gives it away.

use std::net::IpAddr;

/// The names that are ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// HTTP/1.1 asks for one.
    #[error("the request has no Host header")]
    NoHost,
    /// A rebinding name, or one that the config does not have.
    #[error(
        "the Host {0:?} is not a name of this router; add it to `hosts` in the config if it is"
    )]
    Host(String),
    /// A page from elsewhere.
    #[error(
        "pages of the origin {0:?} may not use this router; add it to `origins` in the config if they may"
    )]
    Origin(String),
}

impl Names {
    /// Ours are loopback, the bound address, the configured hosts (names or addresses, without port) and origins
    /// (`scheme://host[:port]`).
    #[must_use]
    pub fn new(bound: &[IpAddr], hosts: &[String], origins: &[String]) -> Self {
        let mut names = vec!["localhost".to_owned()];
        // An unspecified address is no name: whoever binds to it lists the names in the config.
        names.extend(bound.iter().filter(|a| !a.is_unspecified()).map(ToString::to_string));
        names.extend(hosts.iter().map(|h| bare(h).to_ascii_lowercase()));
        let origins =
            origins.iter().map(|o| o.trim_end_matches('/').to_ascii_lowercase()).collect();
        Self { hosts: names, origins }
    }

    /// Lets a request through or says why not. Both headers as they came, `None` where there is none.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn check(&self, host: Option<&str>, origin: Option<&str>) -> Result<(), Refusal> {
        let host = host.ok_or(Refusal::NoHost)?;
        let name = name_of(host).ok_or_else(|| Refusal::Host(quote(host)))?;
        if !self.ours(&name) {
            return Err(Refusal::Host(quote(host)));
        }
        match origin {
            None => Ok(()),
            Some(origin) if self.origin(origin) => Ok(()),
            Some(origin) => Err(Refusal::Origin(quote(origin))),
        }
    }

    fn origin(&self, origin: &str) -> bool {
        let lower = origin.trim_end_matches('/').to_ascii_lowercase();
        if self.origins.contains(&lower) {
            return true;
        }
        let rest = lower.strip_prefix("http://").or_else(|| lower.strip_prefix("https://"));
        rest.and_then(name_of).is_some_and(|name| self.ours(&name))
    }

    fn ours(&self, name: &str) -> bool {
        name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            || self.hosts.iter().any(|ours| ours == name)
    }
}

/// The name of `name[:port]`, in lower case; none when it is not of that form.
fn name_of(authority: &str) -> Option<String> {
    let (name, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (name, after) = rest.split_once(']')?;
        name.parse::<std::net::Ipv6Addr>().ok()?;
        (name, after.strip_prefix(':').or((after.is_empty()).then_some("0"))?)
    } else {
        authority.split_once(':').unwrap_or((authority, "0"))
    };
    let plain = !name.is_empty()
        && name.len() <= 253
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
    (plain && port.parse::<u16>().is_ok())
        .then(|| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase())
}

/// A host of the config: brackets around an IPv6 address are allowed, and not part of the name.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
}

fn quote(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> Names {
        Names::new(
            &["192.0.2.7".parse().expect("an address"), "::".parse().expect("an address")],
            &["Media.Example.org".into(), "[2001:db8::1]".into()],
            &["https://app.example.net".into()],
        )
    }

    #[test]
    fn our_own_names_pass_with_any_port() {
        for host in [
            "localhost",
            "localhost:9000",
            "LOCALHOST:1",
            "127.0.0.1:9000",
            "127.9.9.9",
            "[::1]:9000",
            "[::1]",
            "192.0.2.7:80",
            "media.example.org",
            "media.example.org.:443",
            "[2001:db8::1]:9000",
        ] {
            assert_eq!(names().check(Some(host), None), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_rebinding_name_is_refused_even_with_an_origin_of_ours() {
        for host in [
            "evil.example",
            "evil.example:9000",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "0.0.0.0",
            "[::]",
            "192.0.2.8",
            "media.example.org@evil.example",
            "localhost:9000:1",
            "localhost:port",
            "",
            ":9000",
            "[::1",
            "[::1]9000",
            "[localhost]",
            "localhost/",
            " localhost",
        ] {
            let refusal = names().check(Some(host), Some("http://localhost:9000"));
            assert!(matches!(refusal, Err(Refusal::Host(_))), "{host}: {refusal:?}");
        }
        assert_eq!(names().check(None, None), Err(Refusal::NoHost));
    }

    #[test]
    fn a_page_from_elsewhere_is_refused() {
        for origin in [
            "http://evil.example",
            "https://localhost.evil.example",
            "null",
            "",
            "file://",
            "http://",
            "https://app.example.net:8443",
            "http://app.example.net",
            "ftp://localhost",
            "http://localhost@evil.example",
        ] {
            let refusal = names().check(Some("localhost"), Some(origin));
            assert!(matches!(refusal, Err(Refusal::Origin(_))), "{origin}: {refusal:?}");
        }
    }

    #[test]
    fn pages_of_ours_of_loopback_and_of_the_list_pass() {
        for origin in [
            "http://localhost:9000",
            "http://127.0.0.1:5173",
            "https://[::1]:1",
            "https://media.example.org",
            "https://app.example.net",
            "https://app.example.net/",
        ] {
            assert_eq!(names().check(Some("localhost"), Some(origin)), Ok(()), "{origin}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_the_check_panic(host in ".{0,64}", origin in ".{0,64}") {
            let _ = names().check(Some(&host), Some(&origin));
        }

        #[test]
        fn no_foreign_domain_passes(label in "[a-z]{1,8}", tld in "[a-z]{2,4}") {
            let host = format!("{label}.{tld}");
            prop_assert!(names().check(Some(&host), None).is_err());
        }
    }
}
