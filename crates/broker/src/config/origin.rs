//! The origin of a web page, as a browser names it when the page opens a WebSocket.

use thiserror::Error;

/// A web origin in the form in which browsers send it (RFC 6454, 6.2), so that it is compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin(String);

/// Why a text is no [`Origin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OriginError {
    /// Another scheme, or none.
    #[error("an origin begins with \"https://\" or \"http://\"")]
    Scheme,
    /// What follows the scheme is not a host and perhaps a port.
    #[error(
        "after the scheme comes a host in small letters, perhaps a port, and nothing else, as \"https://app.example:8080\""
    )]
    Host,
    /// A browser leaves this port out.
    #[error("a browser leaves out the default port (443 for https, 80 for http)")]
    DefaultPort,
}

impl Origin {
    /// Checks that a browser may send this text.
    ///
    /// # Errors
    /// When none would, so that it would never match.
    pub fn new(text: &str) -> Result<Origin, OriginError> {
        let (rest, default_port) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (rest, "443"),
            (None, Some(rest)) => (rest, "80"),
            (None, None) => return Err(OriginError::Scheme),
        };
        let (host, port) = match rest.rsplit_once(':') {
            // The colons of an IPv6 address are inside its brackets.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (rest, None),
        };
        if !is_host(host) || port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(OriginError::Host);
        }
        match port == Some(default_port) {
            true => Err(OriginError::DefaultPort),
            false => Ok(Origin(text.to_owned())),
        }
    }

    /// The text, exactly as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_host(host: &str) -> bool {
    let of = |text: &str, others: &str| {
        !text.is_empty()
            && text.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || others.contains(one))
    };
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => of(address, ":."),
        None => of(host, "-._"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_sends_is_an_origin() {
        for text in ["https://app.example", "http://localhost:3000", "https://10.0.0.1:8443", "http://[::1]:80000"] {
            assert_eq!(Origin::new(text).is_ok(), !text.ends_with("80000"), "{text}");
        }
        assert_eq!(Origin::new("http://[::1]").expect("an origin").as_str(), "http://[::1]");
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        for (text, error) in [
            ("app.example", OriginError::Scheme),
            ("null", OriginError::Scheme),
            ("*", OriginError::Scheme),
            ("ftp://app.example", OriginError::Scheme),
            ("https://", OriginError::Host),
            ("https://app.example/", OriginError::Host),
            ("https://App.example", OriginError::Host),
            ("https://me@app.example", OriginError::Host),
            ("https://*.example", OriginError::Host),
            ("https://app.example:", OriginError::Host),
            ("https://app.example:443", OriginError::DefaultPort),
            ("http://app.example:80", OriginError::DefaultPort),
        ] {
            assert_eq!(Origin::new(text), Err(error), "{text}");
        }
    }
}
