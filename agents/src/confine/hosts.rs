//! `network` in `project.toml`: which hosts an agent or a command may reach. Pure; names are resolved elsewhere.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NetworkAccess {
    /// The whole network (`true`).
    All,
    /// Nobody has set anything: as [`NetworkAccess::Ask`], and open where this machine cannot limit the network at all.
    #[default]
    Unset,
    /// The package registries and these hosts; people are asked about any other (`"ask"`, or a list with that word).
    Ask(Vec<AllowedHost>),
    /// These hosts; none for `false`. An agent also reaches the model's API and storkit's tools.
    Only(Vec<AllowedHost>),
}

/// One entry of the list: `crates.io`, `*.crates.io`, `github.com:443`, `10.0.0.7:5432`, `[::1]:8080`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AllowedHost {
    /// Lower case, an IPv6 address without brackets.
    name: String,
    /// `*.`: all names below it, and not the name itself.
    below: bool,
    /// If absent, 443 and 80.
    port: Option<u16>,
}

/// Where a rule may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AllowedReach {
    /// For a `*.` entry: only public addresses.
    Public,
    /// For an exact name: any address.
    Anywhere,
}

/// Ports of an entry that names none.
const WEB: [u16; 2] = [443, 80];

impl NetworkAccess {
    pub fn is_limited(&self) -> bool {
        *self != Self::All
    }

    /// Of these package registries those that it allows, and nothing else; whoever has the whole network gets all of them.
    pub fn registries_only(&self, registries: &[AllowedHost]) -> Self {
        let is_open = |registry: &&AllowedHost| match self {
            Self::All | Self::Unset | Self::Ask(_) => true,
            Self::Only(hosts) => {
                let port = registry.port.unwrap_or(WEB[0]);
                hosts.iter().any(|host| host.allows(&registry.name, port).is_some())
            }
        };
        Self::Only(registries.iter().filter(is_open).cloned().collect())
    }

    /// Whether somebody set these limits, so that nothing may start without them.
    pub fn is_set(&self) -> bool {
        matches!(self, Self::Only(_) | Self::Ask(_))
    }

    /// Whether a limit by ports is not enough.
    pub fn is_strict(&self) -> bool {
        matches!(self, Self::Only(_))
    }

    /// The listed hosts, where people are asked about any other.
    pub fn asking(&self) -> Option<&[AllowedHost]> {
        match self {
            Self::Unset => Some(&[]),
            Self::Ask(hosts) => Some(hosts),
            Self::All | Self::Only(_) => None,
        }
    }
}

impl AllowedHost {
    /// Reads one entry; the error is a clause that follows a quotation of it.
    pub fn parse(entry: &str) -> Result<Self, String> {
        let (below, rest) = match entry.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, entry),
        };
        let (name, port) = split_port(rest).ok_or("has a port that is none; write 1 to 65535")?;
        let name = host_name(name).ok_or(
            "is no host; write a name like \"crates.io\", \"*.crates.io\" or \"github.com:443\", in ASCII and without \
             `https://` or a path",
        )?;
        match below && name.parse::<IpAddr>().is_ok() {
            true => Err("is no host; an address has no names below it".into()),
            false => Ok(Self { name, below, port }),
        }
    }

    pub fn exact(host: &str, port: u16) -> Option<Self> {
        Some(Self { name: host_name(host)?, below: false, port: Some(port) })
    }

    /// The port of this machine's loopback interface, if it names one.
    pub fn loopback_port(&self) -> Option<u16> {
        self.port.filter(|_| !self.below && ["localhost", "127.0.0.1"].contains(&self.name.as_str()))
    }

    /// Applies it to a host in the form of [`host_name`].
    fn allows(&self, host: &str, port: u16) -> Option<AllowedReach> {
        let port_fits = self.port.map_or_else(|| WEB.contains(&port), |own| own == port);
        // At least one character and a dot before it: `*.a.b` fits neither `a.b` nor `xa.b`.
        let named = match self.below {
            true => host
                .strip_suffix(self.name.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            false => host == self.name,
        };
        let how = if self.below { AllowedReach::Public } else { AllowedReach::Anywhere };
        (port_fits && named).then_some(how)
    }
}

/// Applies the entries to a host and port; `None` if it is refused.
pub fn allowed(hosts: &[AllowedHost], host: &str, port: u16) -> Option<AllowedReach> {
    let host = host_name(host)?;
    // Where several entries fit, the widest counts: `Anywhere` is the greater.
    hosts.iter().filter_map(|entry| entry.allows(&host, port)).max()
}

/// A host in the form that is compared: lower case, without a final dot or brackets. `None` if it is no host, and for numbers
/// that only some programs read as an address (`127.1`, `0x7f.1`).
pub fn host_name(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[') {
        return inner.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(|address| address.to_string());
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return None;
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    match numeric {
        true => name.parse::<Ipv4Addr>().ok().map(|address| address.to_string()),
        false => Some(name),
    }
}

/// The name and the port, which follows the brackets of an IPv6 address or the only colon. [`host_name`] refuses all others.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if name.ends_with(']') || !name.contains(':') => (name, port),
        _ => return Some((text, None)),
    };
    if port.starts_with('/') || text.ends_with(']') {
        return Some((text, None));
    }
    port.parse().ok().filter(|port| *port != 0).map(|port| (name, Some(port)))
}

/// Whether an address is on the public internet: neither this machine, nor a local network, nor IPv4 inside IPv6.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let own = address.is_private() || address.is_loopback() || address.is_link_local();
    // 100.64.0.0/10 is shared by carriers (RFC 6598), 192.0.0.0/24 is for protocols (RFC 6890), 198.18.0.0/15 for
    // benchmarks (RFC 2544).
    let shared = a == 100 && (64..128).contains(&b);
    // 192.88.99.0/24 led to 6to4 relays (RFC 7526).
    let reserved = a == 0
        || a >= 224
        || [(192, 0, 0), (192, 88, 99)].contains(&(a, b, c))
        || (a == 198 && (b == 18 || b == 19));
    !(own || shared || reserved || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Only 2000::/3 is assigned: that leaves out NAT64 (64:ff9b::/96, 64:ff9b:1::/48), whose addresses lead to IPv4, as Teredo's
    // and 6to4's do. 2001::/23 is for protocols (RFC 2928), and two ranges are for documentation.
    let global = segments[0] & 0xe000 == 0x2000;
    let protocols = segments[0] == 0x2001 && segments[1] < 0x200;
    let documentation = (segments[0] == 0x2001 && segments[1] == 0xdb8) || segments[0] == 0x3fff;
    let special = segments[0] == 0x2002 || protocols || documentation;
    match address.to_ipv4_mapped() {
        Some(inner) => is_public_v4(inner),
        None => global && !special,
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.below { "*." } else { "" };
        match self.name.contains(':') {
            true => write!(f, "{star}[{}]", self.name)?,
            false => write!(f, "{star}{}", self.name)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Completes the phrase "may reach ..".
impl fmt::Display for NetworkAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Unset | Self::Ask(_) => {
                let hosts = self.asking().unwrap_or_default().iter().map(|host| format!("`{host}`, "));
                write!(f, "package registries, {}other hosts after a question", hosts.collect::<String>())
            }
            Self::Only(hosts) if hosts.is_empty() => f.write_str("nothing"),
            Self::Only(hosts) => {
                let hosts: Vec<String> = hosts.iter().map(|host| format!("`{host}`")).collect();
                f.write_str(&hosts.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hosts(entries: &[&str]) -> Vec<AllowedHost> {
        entries.iter().map(|entry| AllowedHost::parse(entry).expect("a host")).collect()
    }

    #[test]
    fn an_entry_allows_its_host_and_no_other() {
        let list = hosts(&["Crates.io.", "*.crates.io", "github.com:443", "10.0.0.7:5432", "[0:0::1]:8080"]);
        let says = |host: &str, port| allowed(&list, host, port);
        for (host, port) in
            [("crates.io", 443), ("CRATES.IO.", 80), ("github.com", 443), ("10.0.0.7", 5432), ("[::1]", 8080)]
        {
            assert_eq!(says(host, port), Some(AllowedReach::Anywhere), "{host}:{port}");
        }
        for host in ["static.crates.io", "a.b.crates.io"] {
            assert_eq!(says(host, 443), Some(AllowedReach::Public), "{host}");
        }
        for (host, port) in [
            ("crates.io", 22),
            ("evilcrates.io", 443),
            (".crates.io", 443),
            ("crates.io.evil.example", 443),
            ("github.com", 80),
            ("www.github.com", 443),
            ("10.0.0.7", 443),
            ("167772167", 5432),
            ("10.7", 5432),
            ("0xa.0.0.7", 5432),
            ("::1", 8080),
            ("crates.io\0.evil", 443),
            ("crates.io%2eevil.example", 443),
            ("", 443),
        ] {
            assert_eq!(says(host, port), None, "{host}:{port}");
        }
        assert_eq!(allowed(&[], "crates.io", 443), None);
    }

    #[test]
    fn only_a_named_port_of_this_machine_is_a_loopback_port() {
        let ports: Vec<_> =
            hosts(&["localhost:5432", "127.0.0.1:80", "localhost", "*.localhost:1", "127.0.0.2:9"])
                .iter()
                .map(AllowedHost::loopback_port)
                .collect();
        assert_eq!(ports, [Some(5432), Some(80), None, None, None]);
    }

    #[test]
    fn addresses_of_ones_own_networks_are_not_public() {
        for own in [
            "127.0.0.1",
            "127.8.9.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.0.8",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:1::1",
            "2001:db8::1",
            "192.88.99.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2001:2::1",
            "2001:20::1",
            "3fff::1",
            "fd00:ec2::254",
        ] {
            assert!(!is_public(own.parse().expect("an address")), "{own}");
        }
        for open in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "198.20.0.1",
            "2606:4700::1",
            "2001:4860:4860::8888",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(open.parse().expect("an address")), "{open}");
        }
    }

    const ENTRY: &str = r"(\*\.)?([a-z0-9_][a-z0-9_-]{0,8}\.){0,3}[a-z]{2,5}(:[1-9][0-9]{0,3})?";

    proptest! {
        /// A host's text parses back to the same host.
        #[test]
        fn an_entry_survives_being_written(entry in ENTRY) {
            let host = AllowedHost::parse(&entry).expect("a host");
            prop_assert_eq!(AllowedHost::parse(&host.to_string()), Ok(host));
        }

        /// Neither something before nor something behind a listed name makes another name pass.
        #[test]
        fn a_longer_name_is_another_host(before in "[ -~]{0,6}", after in "[ -~]{0,6}", port in any::<u16>()) {
            let list = hosts(&["crates.io", "*.crates.io"]);
            let asked = format!("{before}crates.io{after}");
            if allowed(&list, &asked, port).is_some() {
                prop_assert!(after.is_empty() || after == ".", "{asked:?}");
                prop_assert!(before.is_empty() || before.ends_with('.'), "{asked:?}");
                prop_assert!(port == 80 || port == 443);
            }
        }

        /// Whatever is asked for, nothing panics and an address never passes by a `*.` entry.
        #[test]
        fn no_text_is_more_than_a_name(text in "\\PC{0,40}", port in any::<u16>()) {
            let list = hosts(&["*.example"]);
            if let Some(how) = allowed(&list, &text, port) {
                prop_assert_eq!(how, AllowedReach::Public);
                prop_assert!(text.parse::<IpAddr>().is_err());
            }
            let _ = AllowedHost::parse(&text);
        }
    }
}
