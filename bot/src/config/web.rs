//! `[web]` of bot.toml: where the page listens, and by which addresses browsers reach it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use settings::keys::KeyError;
use url::{Host, Url};

/// The section `[web]` of the file: the page.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct WebSection {
    /// Address and port of the page; empty for no page.
    pub listen: String,
    /// The addresses by which browsers reach it, like "https://farm.example.org"; none: those of this machine.
    pub origin: Vec<String>,
}

impl Default for WebSection {
    fn default() -> Self {
        Self { listen: Self::USUAL.into(), origin: Vec::new() }
    }
}

/// An address of the page as browsers write its origin, without a path; `None` for what is no such address.
pub fn page_origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let is_bare =
        url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    (matches!(url.scheme(), "http" | "https") && is_bare).then(|| url.origin().ascii_serialization())
}

/// Whether nobody between the browser and the page can read what they say: a browser opens an `http` address of its own machine only there.
fn is_private(origin: &str) -> bool {
    let Ok(url) = Url::parse(origin) else { return false };
    match url.host() {
        _ if url.scheme() == "https" => true,
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl WebSection {
    /// Where the page listens if nothing else is said.
    pub const USUAL: &'static str = "127.0.0.1:3003";

    /// Where the page of a storkit listens that lasts as long as its terminal.
    pub const FREE_PORT: &'static str = "127.0.0.1:0";

    /// Where the page listens, if there is to be one. [`BotConfig::load`] refuses what is no address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listen.parse().ok()
    }

    pub(super) fn check(&self) -> Result<(), KeyError> {
        let wrong = |key: &str, why: &str| Err(KeyError { key: key.into(), why: why.into() });
        if self.listen.is_empty() {
            return Ok(());
        }
        let Some(address) = self.address() else {
            return wrong(
                "web.listen",
                "it is an address with a port, like \"127.0.0.1:3003\", or empty for no page.",
            );
        };
        let is_origin = |origin: &String| page_origin(origin).is_some();
        if !self.origin.iter().all(is_origin) {
            return wrong(
                "web.origin",
                "it is a list of addresses without a path, like [\"https://farm.example.org\"].",
            );
        }
        if !address.ip().is_loopback()
            && (self.origin.is_empty() || !self.origin.iter().all(|it| is_private(it)))
        {
            return wrong(
                "web.listen",
                "the page has no TLS of its own, so it listens on this machine only, like \"127.0.0.1:3003\". Behind a proxy that has TLS, \
                 name the proxy's address in `[web] origin`, like [\"https://farm.example.org\"]; then it may listen on others, too. In a \
                 container whose port is published on this machine alone, name [\"http://localhost:3003\"].",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(listen: &str, origin: &[&str]) -> Option<String> {
        let origin = origin.iter().map(|it| (*it).to_owned()).collect();
        let section = WebSection { listen: listen.into(), origin };
        section.check().err().map(|error| error.why)
    }

    #[test]
    fn what_the_page_says_is_never_readable_on_a_network() {
        for fine in [
            ("", &[][..]),
            ("127.0.0.1:3003", &[]),
            ("[::1]:0", &["http://farm.example.org"]),
            ("0.0.0.0:3003", &["https://farm.example.org", "http://localhost:3003"]),
            ("192.168.0.7:3003", &["http://127.0.0.1:3003", "http://[::1]:3003"]),
        ] {
            assert_eq!(told(fine.0, fine.1), None, "{fine:?}");
        }
        for open in [
            &[][..],
            &["http://farm.example.org"],
            &["https://farm.example.org", "http://192.168.0.7:3003"],
            &["http://localhost.example.org"],
            &["http://127.0.0.1.example.org"],
        ] {
            let told = told("0.0.0.0:3003", open).unwrap_or_default();
            assert!(told.starts_with("the page has no TLS of its own"), "{open:?}: {told}");
        }
        assert!(told("3003", &[]).unwrap().starts_with("it is an address with a port"));
        assert!(told("127.0.0.1:3003", &["farm"]).unwrap().starts_with("it is a list of addresses"));
    }
}
