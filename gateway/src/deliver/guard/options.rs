//! The guard as operators configure it: schemes, ports, hosts and networks. Each key is a list, or a text with commas.

use crate::model::list::texts;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{fmt, str::FromStr};
use url::Host;

/// Which addresses may be called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `http`, `https` or both.
    #[serde(deserialize_with = "parsed")]
    pub schemes: Vec<Scheme>,
    /// The ports that may be called. None: all but those of services that speak no HTTP.
    #[serde(deserialize_with = "ports")]
    pub ports: Vec<Ports>,
    /// Networks that may be called although they are not public.
    #[serde(deserialize_with = "parsed")]
    pub allow: Vec<IpNet>,
    /// Names whose addresses may be called although they are not public.
    #[serde(deserialize_with = "parsed")]
    pub allow_hosts: Vec<Hosts>,
    /// Networks that may not be called although they are public, or allowed.
    #[serde(deserialize_with = "parsed")]
    pub deny: Vec<IpNet>,
    /// Names that may not be called, whatever their addresses.
    #[serde(deserialize_with = "parsed")]
    pub deny_hosts: Vec<Hosts>,
    /// The only names that may be called. None: all.
    #[serde(deserialize_with = "parsed")]
    pub only_hosts: Vec<Hosts>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            schemes: vec![Scheme::Http, Scheme::Https],
            ports: Vec::new(),
            allow: Vec::new(),
            allow_hosts: Vec::new(),
            deny: Vec::new(),
            deny_hosts: Vec::new(),
            only_hosts: Vec::new(),
        }
    }
}

impl Options {
    /// Whether they can be meant. An error is a key and what would be right.
    pub const fn check(&self) -> Result<(), (&'static str, &'static str)> {
        match self.schemes.is_empty() {
            true => Err(("schemes", "http, https or both")),
            false => Ok(()),
        }
    }
}

/// How a URL may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As a URL has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A port, or all from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// Whether it is one of them.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// A name, or all names below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// In small letters and without a dot at the end.
    name: String,
    below: bool,
}

impl Hosts {
    /// Whether a name in small letters and without a dot at the end is one of them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        match self.below {
            false => name == self.name,
            true => name
                .strip_suffix(&*self.name)
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        }
    }
}

impl FromStr for Scheme {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Http, Self::Https].into_iter().find(|scheme| scheme.as_str() == text);
        known.ok_or_else(|| format!("`{text}` is neither http nor https"))
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("`{text}` is not a port such as 443, nor ports such as 8000-8999")),
        }
    }
}

impl FromStr for Hosts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, below) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        match Host::parse(name.trim_end_matches('.')) {
            Ok(Host::Domain(name)) if !name.is_empty() && !name.contains('*') => {
                Ok(Self { name, below })
            }
            Ok(Host::Ipv4(_) | Host::Ipv6(_)) => Err(format!(
                "`{text}` is an address; name its network in guard.allow or guard.deny"
            )),
            _ => Err(format!("`{text}` is not a name such as a.example.com or *.example.com")),
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.below { "*." } else { "" };
        write!(f, "{prefix}{}", self.name)
    }
}

impl Serialize for Scheme {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Hosts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What operators write in an item of a list.
trait Item: Sized {
    /// The item, or what would be right.
    fn read(text: &str) -> Result<Self, String>;
}

impl Item for IpNet {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("`{text}` is not a network such as 10.0.0.0/8"))
    }
}

impl Item for Scheme {
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

impl Item for Hosts {
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

fn parsed<'de, D: Deserializer<'de>, T: Item>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let texts = texts(deserializer)?;
    texts.iter().map(|text| T::read(text).map_err(D::Error::custom)).collect()
}

/// Ports are numbers too, in a list or alone.
fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Ports>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum One {
        Number(u64),
        Text(String),
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        List(Vec<One>),
        One(One),
    }
    let texts = match Either::deserialize(deserializer)? {
        Either::One(One::Text(text)) => {
            text.split(',').map(|part| part.trim().to_owned()).collect()
        }
        Either::One(One::Number(number)) => vec![number.to_string()],
        Either::List(list) => list
            .into_iter()
            .map(|one| match one {
                One::Number(number) => number.to_string(),
                One::Text(text) => text,
            })
            .collect(),
    };
    let texts = texts.iter().filter(|text| !text.is_empty());
    texts.map(|text| text.parse().map_err(D::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_and_what_is_below_them() {
        let below: Hosts = "*.Example.com.".parse().expect("a name");
        let only: Hosts = "bücher.example".parse().expect("a name");
        for (hosts, name, expected) in [
            (&below, "a.example.com", true),
            (&below, "b.a.example.com", true),
            (&below, "example.com", false),
            (&below, ".example.com", false),
            (&below, "an-example.com", false),
            (&only, "xn--bcher-kva.example", true),
            (&only, "a.xn--bcher-kva.example", false),
        ] {
            assert_eq!(hosts.contains(name), expected, "{hosts} {name}");
        }
        for bad in ["", "*", "*.", "*.*.com", "a b", "127.0.0.1", "0x7f.1", "*.10.0.0.1", "[::1]"] {
            bad.parse::<Hosts>().expect_err(bad);
        }
    }

    #[test]
    fn lists_are_lists_or_texts_and_what_they_come_from_again() {
        for (document, ports) in [
            (json!({ "ports": [443, "8000-8999"] }), 2),
            (json!({ "ports": "443, 8000-8999" }), 2),
            (json!({ "ports": 443 }), 1),
            (json!({ "ports": "" }), 0),
        ] {
            let options: Options = serde_json::from_value(document.clone()).expect("good");
            assert_eq!(options.ports.len(), ports, "{document}");
            let again = serde_json::to_value(&options).expect("serialises");
            assert_eq!(serde_json::from_value::<Options>(again).expect("good"), options);
        }
        for bad in [
            json!({ "ports": [0] }),
            json!({ "ports": [70_000] }),
            json!({ "ports": ["9-8"] }),
            json!({ "schemes": ["ftp"] }),
            json!({ "deny": ["10.0.0.0"] }),
            json!({ "allow_hosts": ["10.0.0.1"] }),
        ] {
            serde_json::from_value::<Options>(bad.clone()).expect_err(&bad.to_string());
        }
        let none: Options = serde_json::from_value(json!({ "schemes": [] })).expect("parses");
        assert_eq!(none.check(), Err(("schemes", "http, https or both")));
    }
}
