//! Which addresses may be connected to: those of the public internet, and what the operator has opened.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses of a private network that the operator lets `web_fetch` reach: `10.0.0.0/8`, `192.168.1.7`,
/// `127.0.0.1:8080`, `fd00::/8`, `[::1]:8080`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    net: IpAddr,
    bits: u8,
    port: Option<u16>,
}

impl Opened {
    fn holds(self, ip: IpAddr, port: u16) -> bool {
        let inside = match (self.net, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => prefix(net.to_bits(), self.bits) == prefix(ip.to_bits(), self.bits),
            (IpAddr::V6(net), IpAddr::V6(ip)) => long(net.to_bits(), self.bits) == long(ip.to_bits(), self.bits),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        };
        inside && self.port.is_none_or(|opened| opened == port)
    }
}

fn prefix(address: u32, bits: u8) -> u32 {
    address.checked_shr(32 - u32::from(bits)).unwrap_or(0)
}

fn long(address: u128, bits: u8) -> u128 {
    address.checked_shr(128 - u32::from(bits)).unwrap_or(0)
}

impl FromStr for Opened {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("expected an address, a network or an address with its port such as 10.0.0.0/8, got `{text}`");
        if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
            return Ok(Self { bits: whole(socket.ip()), net: socket.ip(), port: Some(socket.port()) });
        }
        let (net, bits) = match text.split_once('/') {
            Some((net, bits)) => (net, Some(bits)),
            None => (text, None),
        };
        let net: IpAddr = net.parse().map_err(|_| wrong())?;
        let most = whole(net);
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?,
        };
        Ok(Self { net, bits, port: None })
    }
}

fn whole(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// Why this address must not be connected to; `None` if it may be.
pub(super) fn objection(ip: IpAddr, port: u16, opened: &[Opened]) -> Option<&'static str> {
    if opened.iter().any(|opened| opened.holds(ip, port)) {
        return None;
    }
    let place = match ip {
        IpAddr::V4(ip) => special_v4(ip),
        IpAddr::V6(ip) => special_v6(ip),
    };
    place.or_else(|| (!is_common(port)).then_some("a port on which no web server listens"))
}

/// The ports of the web, and those from 1024 on that no browser refuses (the list of the Fetch standard).
fn is_common(port: u16) -> bool {
    const OTHERS: &[u16] = &[
        1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679,
        6697, 10080, 11211,
    ];
    matches!(port, 80 | 443) || (port >= 1024 && !OTHERS.contains(&port))
}

/// What an IPv4 address is if it isn't one of the public internet (IANA's registry of special-purpose addresses).
fn special_v4(ip: Ipv4Addr) -> Option<&'static str> {
    const METADATA: [Ipv4Addr; 2] = [Ipv4Addr::new(169, 254, 169, 254), Ipv4Addr::new(168, 63, 129, 16)];
    if METADATA.contains(&ip) {
        return Some("a cloud's metadata service");
    }
    match ip.octets() {
        [0, ..] => Some("no address of a host"),
        [127, ..] => Some("the server itself"),
        [169, 254, ..] => Some("a link-local address"),
        [100, 64..=127, ..] => Some("an address of a carrier's own network"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("a private address"),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Some("an address reserved for a special purpose")
        }
        [224..=239, ..] => Some("a multicast address"),
        [240..=255, ..] => Some("a reserved address"),
        _ => None,
    }
}

/// What an IPv6 address is if it isn't one of the public internet. All of that is in 2000::/3; addresses that hold an IPv4
/// address would lead around what is refused there.
fn special_v6(ip: Ipv6Addr) -> Option<&'static str> {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("the server itself"),
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("no address of a host"),
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0, 0, 0, 0, 0, 0, ..] => {
            Some("an IPv4 address in another form")
        }
        [0x64, 0xff9b, ..] | [0x2002, ..] => Some("a way to an IPv4 address"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Some("a private address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => {
            Some("an address reserved for a special purpose")
        }
        [0x2000..=0x3fff, ..] => None,
        _ => Some("a reserved address"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Opened, objection};

    fn refused(address: &str, opened: &[&str]) -> bool {
        let opened: Vec<Opened> = opened.iter().map(|text| text.parse().expect("it is one")).collect();
        objection(address.parse().expect("an address"), 80, &opened).is_some()
    }

    #[test]
    fn only_the_public_internet_is_reached() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:0:53aa:64c::",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ] {
            assert!(refused(address, &[]), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.1",
            "93.184.215.14",
            "100.63.255.255",
            "100.128.0.1",
            "126.0.0.1",
            "128.0.0.1",
            "168.63.129.17",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.0.1",
            "192.169.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:200::1",
        ] {
            assert!(!refused(address, &[]), "{address}");
        }
    }

    #[test]
    fn the_operator_opens_what_is_named_and_nothing_beside_it() {
        assert!(!refused("10.1.2.3", &["10.0.0.0/8"]));
        assert!(refused("11.0.0.0", &["240.0.0.0/8", "10.0.0.0/8"]) == refused("11.0.0.0", &[]));
        assert!(refused("127.0.0.1", &["10.0.0.0/8", "::1", "127.0.0.1:81"]));
        assert!(!refused("127.0.0.1", &["127.0.0.1:80"]));
        assert!(refused("127.0.0.2", &["127.0.0.1"]));
        assert!(refused("::ffff:127.0.0.1", &["127.0.0.0/8"]));
        assert!(!refused("fd12::1", &["fd00::/8"]));
        assert!(!refused("::1", &["[::1]:80"]));
        assert!(!refused("192.168.0.1", &["0.0.0.0/0"]));
        for text in ["", "10.0.0.0/33", "localhost", "10.0.0.0/x", "::/129", "10.0.0", "example.com:80"] {
            assert!(text.parse::<Opened>().is_err(), "{text}");
        }
    }

    #[test]
    fn odd_ports_are_refused_unless_opened() {
        let ip = "8.8.8.8".parse().expect("an address");
        for port in [0, 1, 21, 22, 23, 25, 53, 110, 139, 445, 465, 993, 6000, 6379, 11211] {
            assert!(objection(ip, port, &[]).is_some(), "{port}");
        }
        for port in [80, 443, 3000, 8000, 8080, 8443] {
            assert!(objection(ip, port, &[]).is_none(), "{port}");
        }
        let opened = ["8.8.8.8:25".parse().expect("it is one")];
        assert!(objection(ip, 25, &opened).is_none());
    }
}
