//! Who gets in. A browser never does: a page could send requests to any address of this machine, and each would be an
//! override. On the loopback the Host must be ours (a name that is bent to 127.0.0.1 arrives under its own), and the path
//! must begin with the run's secret; every program of the machine can reach the port.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri};

use super::door::Entrance;
use super::rejection::Rejection;

/// The target that the upstream is asked for, in origin-form and otherwise as it was sent.
///
/// # Errors
/// Why the request does not get in.
pub(super) fn admit(parts: &Parts, entrance: &Entrance) -> Result<Uri, Rejection> {
    if is_from_a_browser(&parts.headers) {
        return Err(Rejection::Browser);
    }
    let is_path = parts.uri.scheme().is_none() && parts.uri.authority().is_none();
    if parts.method == Method::CONNECT || !is_path || !parts.uri.path().starts_with('/') {
        return Err(Rejection::Target);
    }
    if parts.headers.get_all(HOST).iter().count() > 1 {
        return Err(Rejection::Host);
    }
    match entrance {
        Entrance::Socket => Ok(parts.uri.clone()),
        Entrance::Loopback { port, secret } => {
            if !names_us(&parts.headers, *port) {
                return Err(Rejection::Host);
            }
            behind(&parts.uri, secret.expose()).ok_or(Rejection::Secret)
        }
    }
}

/// Pages send `Origin` with whatever may change something, and browsers say of every request what it is for
/// (Fetch Metadata).
fn is_from_a_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"))
}

fn names_us(headers: &HeaderMap, port: u16) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    host.rsplit_once(':').is_some_and(|(name, given)| {
        given == port.to_string() && (name == "127.0.0.1" || name.eq_ignore_ascii_case("localhost"))
    })
}

/// What follows the secret.
fn behind(uri: &Uri, secret: &str) -> Option<Uri> {
    let path = uri.path().strip_prefix('/')?;
    let (given, rest) = path.split_once('/').unwrap_or((path, ""));
    verify_slices_are_equal(given.as_bytes(), secret.as_bytes()).ok()?;
    let target = uri.query().map_or_else(|| format!("/{rest}"), |query| format!("/{rest}?{query}"));
    PathAndQuery::try_from(target).ok().map(Uri::from)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::secret::Secret;

    fn entrance() -> Entrance {
        Entrance::Loopback { port: 4711, secret: Secret::new("s3cret".to_owned()) }
    }

    fn ask(target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::post(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    const OURS: (&str, &str) = ("host", "127.0.0.1:4711");

    #[test]
    fn the_secret_opens_and_is_taken_off() {
        for (target, wanted) in [
            ("/s3cret/a/b?c=d", "/a/b?c=d"),
            ("/s3cret", "/"),
            ("/s3cret?x", "/?x"),
            ("/s3cret//a", "//a"),
            ("/s3cret/a/../%2e", "/a/../%2e"),
        ] {
            let admitted = admit(&ask(target, &[OURS]), &entrance()).unwrap();
            assert_eq!(admitted.to_string(), wanted, "{target}");
        }
        let by_name = ask("/s3cret/", &[("host", "LocalHost:4711")]);
        assert!(admit(&by_name, &entrance()).is_ok());
    }

    #[test]
    fn nothing_else_does() {
        for (target, headers, why) in [
            ("/a", vec![OURS], Rejection::Secret),
            ("/s3cret2/a", vec![OURS], Rejection::Secret),
            ("/S3cret/a", vec![OURS], Rejection::Secret),
            ("//s3cret/a", vec![OURS], Rejection::Secret),
            ("/s3cre%74/a", vec![OURS], Rejection::Secret),
            ("/", vec![OURS], Rejection::Secret),
            ("/s3cret/a", vec![], Rejection::Host),
            ("/s3cret/a", vec![("host", "127.0.0.1")], Rejection::Host),
            ("/s3cret/a", vec![("host", "127.0.0.1:80")], Rejection::Host),
            ("/s3cret/a", vec![("host", "evil.example:4711")], Rejection::Host),
            ("/s3cret/a", vec![("host", "127.0.0.1.evil.example:4711")], Rejection::Host),
            ("/s3cret/a", vec![OURS, ("host", "evil.example")], Rejection::Host),
            ("/s3cret/a", vec![OURS, ("origin", "http://127.0.0.1:4711")], Rejection::Browser),
            ("/s3cret/a", vec![OURS, ("origin", "null")], Rejection::Browser),
            ("/s3cret/a", vec![OURS, ("sec-fetch-site", "none")], Rejection::Browser),
            ("http://127.0.0.1:4711/s3cret/a", vec![OURS], Rejection::Target),
            ("https://evil.example/s3cret/a", vec![OURS], Rejection::Target),
            ("*", vec![OURS], Rejection::Target),
        ] {
            assert_eq!(admit(&ask(target, &headers), &entrance()), Err(why), "{target} {headers:?}");
        }
        let mut connect = ask("/s3cret/a", &[OURS]);
        connect.method = Method::CONNECT;
        assert_eq!(admit(&connect, &entrance()), Err(Rejection::Target));
    }

    #[test]
    fn a_socket_takes_any_one_host_and_no_browser() {
        for headers in [vec![], vec![("host", "anything")]] {
            assert_eq!(admit(&ask("/a?b", &headers), &Entrance::Socket).unwrap(), "/a?b");
        }
        for (headers, why) in [
            (vec![("host", "a"), ("host", "a")], Rejection::Host),
            (vec![("host", "a"), ("origin", "http://a")], Rejection::Browser),
        ] {
            assert_eq!(admit(&ask("/a", &headers), &Entrance::Socket), Err(why));
        }
        assert_eq!(admit(&ask("http://a/", &[("host", "a")]), &Entrance::Socket), Err(Rejection::Target));
    }
}
