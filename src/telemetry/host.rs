//! Whom an admin port takes a request for. A page in an operator's browser can have its own name resolve to the loopback
//! (DNS rebinding); the Host header then still carries that name.

use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;
use http::{HeaderMap, Method, header};

/// Whether a request with these `headers` may be answered on the admin port at `listening`: by an address, by
/// `localhost`, or without a Host. Other names may only read, and only where the port listens beyond the loopback, as
/// a scraper in a network of containers does.
pub fn is_allowed(method: &Method, headers: &HeaderMap, listening: SocketAddr) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return !headers.contains_key(header::HOST) };
    let authority = host.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
    let Some(authority) = authority else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_ours = name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost");
    is_ours || (*method == Method::GET && !listening.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_the_loopback_are_asked_for() {
        let headers = |host: &str| HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        let (inside, outside) = ("127.0.0.1:9901".parse().unwrap(), "0.0.0.0:9901".parse().unwrap());
        for host in ["127.0.0.1:9901", "[::1]:9901", "10.0.0.7", "LocalHost:9901", "localhost"] {
            assert!(is_allowed(&Method::PUT, &headers(host), inside), "{host}");
        }
        for host in ["evil.test", "evil.test:9901", "localhost.evil.test", "127.0.0.1.evil.test", ""] {
            assert!(!is_allowed(&Method::GET, &headers(host), inside), "{host}");
            assert!(!is_allowed(&Method::PUT, &headers(host), outside), "{host}");
        }
        assert!(is_allowed(&Method::GET, &headers("sidecar:9901"), outside), "a scraper among containers");
        assert!(is_allowed(&Method::GET, &HeaderMap::new(), inside), "HTTP/1.0");
        let mut two = headers("localhost");
        two.append(header::HOST, "evil.test".parse().unwrap());
        assert!(!is_allowed(&Method::GET, &two, inside));
    }
}
