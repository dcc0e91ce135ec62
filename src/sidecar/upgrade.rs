//! Another protocol on a client's HTTP/1.1 connection (RFC 9110 §7.8): asked for by the client, agreed by the upstream,
//! and from then on bytes that are passed both ways unread.
//!
//! INVARIANTS: only protocols on the operator's list are asked for (never one that carries HTTP requests, which would
//! pass by intake and route table); a switch that nobody asked for is an upstream failure; after any other answer the
//! connection is HTTP as before, and what the client sent behind its request is judged as a request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::io::AsyncWriteExt as _;

use super::body::{ResponseBody, Watched};
use super::framing::FramingGuard;
use super::tunnel::{Ends, Limits, Tunnel};
use super::upstream::UpstreamError;
use super::{forward_headers, intake};
use crate::config::upgrade_protocol::UpgradeProtocol;

/// How long a peer may take to read the last bytes of its connection.
const GOODBYE_MAX: std::time::Duration = std::time::Duration::from_secs(2);

/// The protocols a client asked for that may be switched to, as they go to the upstream.
#[derive(Debug)]
pub struct Asked(HeaderValue);

/// What `parts` asks to switch to, if anything that may be. `bare`: the request has no body; what would come first, the
/// body's end or the other protocol, has too many answers otherwise.
pub fn asked(parts: &Parts, bare: bool, allowed: &[UpgradeProtocol]) -> Option<Asked> {
    if !parts.headers.contains_key(UPGRADE) || !bare || parts.version != Version::HTTP_11 {
        return None;
    }
    if !tokens(&parts.headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade")) {
        return None;
    }
    let may = |token: &&str| allowed.iter().any(|protocol| protocol.is_named_by(token));
    let kept: Vec<&str> = tokens(&parts.headers, &UPGRADE).filter(may).collect();
    if kept.is_empty() { None } else { HeaderValue::try_from(kept.join(", ")).ok().map(Asked) }
}

fn tokens<'h>(headers: &'h HeaderMap, name: &http::HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

impl Asked {
    /// Says so to the next hop.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        headers.insert(UPGRADE, self.0.clone());
        headers.append(CONNECTION, HeaderValue::from_static("upgrade"));
    }

    /// A server switches to what it was asked for, and says to what.
    fn agrees_with(&self, answer: &HeaderMap) -> bool {
        let asked = self.0.to_str().unwrap_or_default();
        let mut switched = tokens(answer, &UPGRADE).peekable();
        let named = |token: &str| asked.split(", ").any(|asked| asked.eq_ignore_ascii_case(token));
        switched.peek().is_some() && switched.all(named)
    }
}

/// What becomes of a client's connection once no HTTP is spoken on it any more, which may be at once.
#[derive(Debug, Default, Clone)]
pub struct Afterwards(Rc<State>);

#[derive(Debug, Default)]
struct State {
    after: RefCell<Option<After>>,
    over: Cell<bool>,
    watcher: RefCell<Option<Waker>>,
}

#[derive(Debug)]
enum After {
    /// hyper leaves a connection open on which an upgrade was ever asked for; it is closed in order.
    Close(OnUpgrade),
    Tunnel(OnUpgrade, Box<Tunnel>),
}

impl Afterwards {
    /// Notes that hyper would hand the connection over.
    pub fn expect_close(&self, connection: OnUpgrade) {
        *self.0.after.borrow_mut() = Some(After::Close(connection));
    }

    /// The connection becomes a tunnel once the answer now under way is written. False where there is none to be had.
    fn expect_tunnel(&self, tunnel: Tunnel) -> bool {
        let mut after = self.0.after.borrow_mut();
        match after.take() {
            Some(After::Close(connection)) => {
                *after = Some(After::Tunnel(connection, Box::new(tunnel)));
                true
            }
            Some(After::Tunnel(..)) | None => false,
        }
    }

    /// Ends an HTTP/1 connection now, whatever still waits to be written: a client that takes nothing could otherwise hold
    /// it, and read later what its grant no longer covers.
    pub fn end_now(&self) {
        self.0.over.set(true);
        drop(self.0.after.borrow_mut().take());
        if let Some(watcher) = self.0.watcher.borrow_mut().take() {
            watcher.wake();
        }
    }

    /// Ready once the connection is to end.
    pub fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.over.get() {
            return Poll::Ready(());
        }
        let mut watcher = self.0.watcher.borrow_mut();
        if !watcher.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *watcher = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// True when another protocol is to be spoken.
    pub fn is_tunnel(&self) -> bool {
        matches!(*self.0.after.borrow(), Some(After::Tunnel(..)))
    }

    /// Does what was noted. To be called when HTTP on the connection has ended in order.
    pub async fn carry_out<I>(&self)
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let after = self.0.after.borrow_mut().take();
        match after {
            None => {}
            Some(After::Close(connection)) => {
                if let Ok(upgraded) = connection.await {
                    let mut stream = hyper_util::rt::TokioIo::new(upgraded);
                    let _ = tokio::time::timeout(GOODBYE_MAX, stream.shutdown()).await;
                }
            }
            Some(After::Tunnel(connection, tunnel)) => {
                let Ok(upgraded) = connection.await else { return };
                let Ok(parts) = upgraded.downcast::<hyper_util::rt::TokioIo<FramingGuard<I>>>() else { return };
                // What hyper has read ahead was released by the guard, so it comes before what the guard still holds.
                let (stream, unread) = parts.io.into_inner().into_inner();
                tunnel.run(stream, [parts.read_buf, unread]).await;
            }
        }
    }
}

/// Makes the client's answer of the upstream's 101, and notes the tunnel that follows it.
///
/// # Errors
/// When the upstream switched to what nobody asked for.
pub fn switch(
    mut response: Response<Incoming>,
    asked: Option<&Asked>,
    afterwards: &Afterwards,
    watched: Option<Watched>,
    limits: Limits,
) -> Result<Response<ResponseBody>, UpstreamError> {
    if !asked.is_some_and(|asked| asked.agrees_with(response.headers())) {
        return Err(UpstreamError::Switched);
    }
    let upstream = hyper::upgrade::on(&mut response);
    if !afterwards.expect_tunnel(Tunnel::new(upstream, Ends::new(watched), limits)) {
        return Err(UpstreamError::Switched);
    }
    let mut answer = Response::new(ResponseBody::Whole(None));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let mut headers = std::mem::take(response.headers_mut());
    let protocol = headers.get(UPGRADE).cloned();
    forward_headers::strip_hop_by_hop(&mut headers);
    intake::strip(&mut headers);
    headers.remove(CONTENT_LENGTH);
    headers.extend(protocol.map(|protocol| (UPGRADE, protocol)));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    *answer.headers_mut() = headers;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(fields: &[(&'static str, &'static str)]) -> Parts {
        let mut request = http::Request::new(());
        for (name, value) in fields {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request.into_parts().0
    }

    fn forwarded(fields: &[(&'static str, &'static str)]) -> Option<String> {
        let allowed = [UpgradeProtocol::websocket()];
        asked(&parts(fields), true, &allowed).map(|asked| asked.0.to_str().unwrap().to_owned())
    }

    #[test]
    fn only_listed_protocols_are_asked_for() {
        let connection = ("connection", "keep-alive, Upgrade");
        for (fields, expected) in [
            (vec![connection, ("upgrade", "websocket")], Some("websocket")),
            (vec![connection, ("upgrade", "h2c, WebSocket")], Some("WebSocket")),
            (vec![connection, ("upgrade", "h2c"), ("upgrade", "websocket/13")], Some("websocket/13")),
            (vec![connection, ("upgrade", "h2c")], None),
            (vec![connection, ("upgrade", "TLS/1.0")], None),
            (vec![connection, ("upgrade", "")], None),
            (vec![connection], None),
            (vec![("upgrade", "websocket")], None),
            (vec![("connection", "x-upgrade"), ("upgrade", "websocket")], None),
        ] {
            assert_eq!(forwarded(&fields).as_deref(), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_body_or_an_older_version_asks_for_nothing() {
        let allowed = [UpgradeProtocol::websocket()];
        let fields = [("connection", "upgrade"), ("upgrade", "websocket")];
        assert!(asked(&parts(&fields), false, &allowed).is_none());
        let mut old = parts(&fields);
        old.version = Version::HTTP_10;
        assert!(asked(&old, true, &allowed).is_none());
        assert!(asked(&parts(&fields), true, &[]).is_none());
    }

    #[test]
    fn an_answer_agrees_only_with_what_was_asked() {
        let allowed = [UpgradeProtocol::websocket()];
        let asked = asked(&parts(&[("connection", "upgrade"), ("upgrade", "websocket")]), true, &allowed).unwrap();
        for (fields, expected) in [
            (vec![("upgrade", "WebSocket")], true),
            (vec![], false),
            (vec![("upgrade", "h2c")], false),
            (vec![("upgrade", "websocket, h2c")], false),
        ] {
            assert_eq!(asked.agrees_with(&parts(&fields).headers), expected, "{fields:?}");
        }
    }
}
