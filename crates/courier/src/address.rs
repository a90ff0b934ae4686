//! Which addresses are the public internet's, and nobody's private network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a request that a stranger asked for may go to this address. What is private, local, reserved, of documentation
/// or of many is refused, and so is the address of an IPv4 host that is written as IPv6 in one of the known ways.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Networks of IPv4 that are not the public internet (the registry of special-purpose addresses, RFC 6890), by their first
/// address and the length of their prefix.
const SPECIAL_V4: [(Ipv4Addr, u32); 17] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    // Shared by customers of a provider; some clouds have their metadata there.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local, with the metadata of most clouds.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    // Relays of 6to4.
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::BROADCAST, 32),
    // Public by its number, and inside of Azure the host's own services.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_in = |(network, length): &(Ipv4Addr, u32)| {
        let mask = u32::MAX << (32 - length);
        address.to_bits() & mask == network.to_bits()
    };
    !SPECIAL_V4.iter().any(is_in)
}

/// All of unicast IPv6 that was ever given out.
const GLOBAL_V6: (u128, u32) = (0x2000 << 112, 3);
/// Of that, what is not the public internet: protocols' own with Teredo among them, documentation twice, 6to4.
const SPECIAL_V6: [(u128, u32); 4] =
    [(0x2001 << 112, 23), (0x2001_0db8 << 96, 32), (0x2002 << 112, 16), (0x3fff << 112, 20)];
/// An IPv4 host behind a translator (RFC 6052): where there is no IPv4, all of it is reached that way.
const NAT64: (u128, u32) = (0x0064_ff9b << 96, 96);

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let bits = address.to_bits();
    let is_in = |(network, length): (u128, u32)| bits & (u128::MAX << (128 - length)) == network;
    if is_in(NAT64) {
        return is_public_v4(Ipv4Addr::from_bits(bits as u32));
    }
    is_in(GLOBAL_V6) && !SPECIAL_V6.into_iter().any(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addresses: &[&str], expected: bool) {
        for address in addresses {
            assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn the_internet_is_public() {
        check(&["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0"], true);
        check(&["11.0.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "223.255.255.255"], true);
        check(&["192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0"], true);
        check(&["168.63.129.15", "168.63.129.17", "9.255.255.255", "1.0.0.0"], true);
        check(&["2606:4700::1111", "2001:4860:4860::8888", "2a00:1450::1", "2001:200::1", "3ffe::1", "2003::1"], true);
        check(&["::ffff:1.1.1.1", "64:ff9b::1.1.1.1"], true);
    }

    #[test]
    fn what_is_private_local_or_reserved_is_not() {
        check(&["0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "127.0.0.1", "127.255.255.254"], false);
        check(&["169.254.169.254", "169.254.0.0", "172.16.0.1", "172.31.255.255", "192.168.0.1"], false);
        check(&["100.64.0.1", "100.100.100.200", "100.127.255.255", "192.0.0.192", "192.0.2.1"], false);
        check(&["192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1"], false);
        check(&["224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16"], false);
        check(&["::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "100::1"], false);
        check(&["2001:db8::1", "3fff::1", "2001::1", "2001:2::1", "2001:10::1", "5f00::1", "4000::1"], false);
    }

    #[test]
    fn an_ipv4_host_is_not_reached_by_another_name() {
        check(&["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::a9fe:a9fe"], false);
        check(&["64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::1.1.1.1"], false);
        // 6to4 of 127.0.0.1 and of a public host; Teredo.
        check(&["2002:7f00:1::", "2002:101:101::", "2001:0:4136:e378:8000:63bf:3fff:fdd2"], false);
    }
}
