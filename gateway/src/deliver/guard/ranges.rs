//! Which addresses are on the public internet: a function of the address. What is not is in the IANA special-purpose
//! registries for IPv4 and IPv6 (as of 2025), is an IPv4 address in the clothes of an IPv6 one, or is where clouds keep
//! their metadata.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Blocks of IPv4 that nobody's receiver is in: first address, length of the prefix, what it is for.
const V4: [(Ipv4Addr, u32, &str); 19] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by carriers"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "for protocols"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "an AS112 sink"),
    (Ipv4Addr::new(192, 52, 193, 0), 24, "for multicast relays"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relays"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(192, 175, 48, 0), 24, "an AS112 sink"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
    // The only public address of the list: Azure answers virtual machines there, and nobody else.
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud's own service"),
];

/// Blocks within 2000::/3, which is what is given out to be reached.
const V6: [(Ipv6Addr, u32, &str); 5] = [
    // Teredo, benchmarks, ORCHID, multicast relays and what else protocols have.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "for protocols"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4"),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, "an AS112 sink"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
];

/// Where clouds answer with credentials: most are in a block above, and an operator who allows that block for an intranet
/// does not mean them.
const METADATA: [IpAddr; 8] = [
    // AWS, Azure, Google and most others; AWS's containers and their credentials; Alibaba; Oracle; Azure's other one.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // AWS and Google over IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Why the address is not one on the public internet, in a few words; none if it is.
#[must_use]
pub fn special(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address),
    }
}

/// Whether a cloud's metadata service answers there.
#[must_use]
pub fn is_metadata(address: IpAddr) -> bool {
    METADATA.contains(&address)
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    let within = |net: Ipv4Addr, length: u32| {
        let rest = 32 - length;
        u32::from(address) >> rest == u32::from(net) >> rest
    };
    V4.iter().find(|(net, length, _)| within(*net, *length)).map(|(.., what)| *what)
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    if let [0x64, 0xff9b, 0, 0, 0, 0, ..] = segments {
        // How a network without IPv4 reaches the public one: names are resolved to these there.
        return embedded(address).and_then(special_v4);
    }
    if !(0x2000..0x4000).contains(&segments[0]) {
        return Some(match segments {
            [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
            [0xfe80..=0xfebf, ..] => "link-local",
            [0xfc00..=0xfdff, ..] => "private",
            [0xff00..=0xffff, ..] => "multicast",
            _ => "not given out to be reached",
        });
    }
    let within = |net: Ipv6Addr, length: u32| {
        let rest = 128 - length;
        u128::from(address) >> rest == u128::from(net) >> rest
    };
    let block = V6.iter().find(|(net, length, _)| within(*net, *length)).map(|(.., what)| *what);
    // ISATAP carries an IPv4 address below any prefix.
    block.or_else(|| embedded(address).and_then(special_v4))
}

/// The IPv4 address that an IPv6 address stands for, by any of the ways that there are: mapped, compatible, translated,
/// NAT64 (both prefixes), 6to4, Teredo, ISATAP.
#[must_use]
pub fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0..=1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..]
        | [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => Some(v4(high, low)),
        // The last of the local prefix's lengths puts it at the end as well.
        [0x64, 0xff9b, 1, .., high, low] => Some(v4(high, low)),
        [0x2001, 0, .., high, low] => Some(v4(!high, !low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap_or_else(|_| panic!("{text} is an address"))
    }

    /// The registries' blocks, first and last address of each, and the neighbours outside, which are public.
    #[test]
    fn blocks_end_where_the_registries_say() {
        for (first, last, before, after) in [
            ("0.0.0.0", "0.255.255.255", "", "1.0.0.0"),
            ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
            ("100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"),
            ("127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"),
            ("169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"),
            ("172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
            ("192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"),
            ("192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"),
            ("192.31.196.0", "192.31.196.255", "192.31.195.255", "192.31.197.0"),
            ("192.52.193.0", "192.52.193.255", "192.52.192.255", "192.52.194.0"),
            ("192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"),
            ("192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
            ("192.175.48.0", "192.175.48.255", "192.175.47.255", "192.175.49.0"),
            ("198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"),
            ("198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"),
            ("203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"),
            ("224.0.0.0", "255.255.255.255", "223.255.255.255", ""),
            ("168.63.129.16", "168.63.129.16", "168.63.129.15", "168.63.129.17"),
            ("::", "64:ff9a:ffff::", "", ""),
            ("64:ff9b:1::", "1fff:ffff::", "", "2000::"),
            ("2001::", "2001:1ff:ffff::", "2000:ffff::", "2001:200::"),
            ("2001:db8::", "2001:db8:ffff::", "2001:db7:ffff::", "2001:db9::"),
            ("2002::", "2002:ffff:ffff::", "2001:ffff::", "2003::"),
            ("2620:4f:8000::", "2620:4f:8000:ffff::", "2620:4f:7fff::", "2620:4f:8001::"),
            ("3fff::", "3fff:fff:ffff::", "3ffe:ffff::", "3fff:1000::"),
            ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:ffff::", ""),
        ] {
            for inside in [first, last] {
                assert!(special(address(inside)).is_some(), "{inside}");
            }
            for outside in [before, after].into_iter().filter(|text| !text.is_empty()) {
                assert_eq!(special(address(outside)), None, "{outside}");
            }
        }
    }

    #[test]
    fn an_ipv4_address_is_found_in_every_ipv6_form() {
        for text in [
            "::ffff:10.1.2.3",
            "::10.1.2.3",
            "::ffff:0:10.1.2.3",
            "64:ff9b::10.1.2.3",
            "64:ff9b:1::10.1.2.3",
            "2002:a01:203::1",
            "2001:0:808:808:0:0:f5fe:fdfc",
            "2600::5efe:a01:203",
            "2600::200:5efe:a01:203",
            "fe80::5efe:a01:203",
        ] {
            let IpAddr::V6(v6) = address(text) else { panic!("{text} is IPv6") };
            assert_eq!(embedded(v6), Some(Ipv4Addr::new(10, 1, 2, 3)), "{text}");
            assert!(special(v6.into()).is_some(), "{text}");
        }
        for text in ["64:ff9b::8.8.8.8", "2600::5efe:808:808", "::ffff:8.8.8.8"] {
            assert_eq!(special(address(text)), None, "{text}");
        }
        for text in ["::", "::1", "2606:4700::1111"] {
            let IpAddr::V6(v6) = address(text) else { panic!("{text} is IPv6") };
            assert_eq!(embedded(v6), None, "{text}");
        }
    }

    #[test]
    fn metadata_is_never_public() {
        assert!(METADATA.iter().all(|address| special(*address).is_some()));
    }
}
