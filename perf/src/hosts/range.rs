//! Ranges of IP addresses, as `--inside` and `--machines` name them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address range, as in `192.168.0.0/16`; an address alone is a range of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    base: u128,
    mask: u128,
    is_v4: bool,
}

impl FromStr for Range {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{text}\" is no address range; write one like 192.168.0.0/16, fd00::/8 or 10.0.0.5");
        let (address, length) =
            text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(bits), str::parse).ok().filter(|&length| length <= bits);
        Ok(Self::of(address, length.ok_or_else(wrong)?))
    }
}

impl Range {
    /// The range of the addresses that have the first `length` bits in common with this one.
    fn of(address: IpAddr, length: u32) -> Self {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let mask = u128::MAX.checked_shl(bits - length.min(bits)).unwrap_or(0);
        Self { base: number(address) & mask, mask, is_v4: address.is_ipv4() }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_v4 && number(address) & self.mask == self.base
    }

    /// The one address, if the range has no more.
    pub fn only(&self) -> Option<IpAddr> {
        (self.mask.count_zeros() == 0).then(|| self.first())
    }

    fn first(&self) -> IpAddr {
        match u32::try_from(self.base) {
            Ok(base) if self.is_v4 => Ipv4Addr::from_bits(base).into(),
            _ => Ipv6Addr::from_bits(self.base).into(),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.mask.count_ones() - if self.is_v4 { 96 } else { 0 };
        write!(out, "{}/{length}", self.first())
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Private and unique local addresses (RFC 1918, RFC 4193).
pub fn private() -> [Range; 4] {
    let v4 = |a, b, length| Range::of(Ipv4Addr::new(a, b, 0, 0).into(), length);
    let local = Range::of(Ipv6Addr::new(0xFC00, 0, 0, 0, 0, 0, 0, 0).into(), 7);
    [v4(10, 0, 8), v4(172, 16, 12), v4(192, 168, 16), local]
}

/// The network that an address is taken to be in where no mask is known: 24 bits of IPv4, 64 bits of IPv6.
pub fn network(address: IpAddr) -> Range {
    Range::of(address, if address.is_ipv4() { 24 } else { 64 })
}

/// Every adapter may use these without being given one: unspecified and link-local addresses.
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_unspecified() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_its_mask_says_and_an_address_alone_is_one() {
        let range = |text: &str| text.parse::<Range>().unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("0.0.0.0/0", "203.0.113.1", "::1"),
            ("::/0", "::1", "10.0.0.1"),
            ("10.0.0.5", "10.0.0.5", "10.0.0.6"),
            ("fd00::5/128", "fd00::5", "fd00::6"),
        ] {
            assert!(range(text).contains(address(inside)), "{text}");
            assert!(!range(text).contains(address(outside)), "{text}");
        }
        assert_eq!(range("10.0.0.5").only(), Some(address("10.0.0.5")));
        assert_eq!(range("fd00::5").only(), Some(address("fd00::5")));
        assert_eq!(range("10.0.0.5/31").only(), None);
        assert_eq!(range("10.0.0.5").to_string(), "10.0.0.5/32");
        assert_eq!(range("10.9.9.9/8").to_string(), "10.0.0.0/8");
        for wrong in ["", "10.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/x"] {
            assert!(wrong.parse::<Range>().unwrap_err().contains("10.0.0.5"), "{wrong}");
        }
    }

    #[test]
    fn private_addresses_are_those_of_the_rfcs() {
        let inside = |text: &str| private().iter().any(|range| range.contains(text.parse().unwrap()));
        for yes in ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "fd00::1", "fc00::1"] {
            assert!(inside(yes), "{yes}");
        }
        for no in ["11.0.0.1", "172.32.0.1", "192.169.0.1", "fe80::1", "2001:db8::1", "169.254.1.1"] {
            assert!(!inside(no), "{no}");
        }
    }
}
