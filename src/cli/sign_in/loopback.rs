//! The place on this machine that the browser comes back to (RFC 8252 §7.3): one path of one port, for one answer.
//!
//! Any program and any page can call it, so it believes nothing but an answer that carries this sign-in's state, and no
//! wrong one ends the wait. It says nothing to the browser but where to go on, and never shows a part of what it got.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::cli::api::unescaped;

const PATH: &str = "/callback";
const HEAD_BYTES_MAX: usize = 16 * 1024;
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(5);

/// The parameters of an authorization response; each once.
pub(super) type Parameters = BTreeMap<String, String>;

/// See the module.
#[derive(Debug)]
pub(super) struct Loopback {
    listener: TcpListener,
    address: SocketAddr,
}

impl Loopback {
    pub(super) async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    pub(super) fn redirect_uri(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// The parameters of the first answer that `is_ours`. Connections are taken one by one, each for a few seconds.
    pub(super) async fn answer(&self, is_ours: impl Fn(&Parameters) -> bool) -> io::Result<Parameters> {
        loop {
            let (mut stream, _) = self.listener.accept().await?;
            let exchange = timeout(CONNECTION_TIME_MAX, self.exchange(&mut stream, &is_ours));
            // A connection that breaks is not the browser's last word.
            if let Ok(Ok(Some(parameters))) = exchange.await {
                return Ok(parameters);
            }
        }
    }

    async fn exchange(
        &self,
        stream: &mut TcpStream,
        is_ours: &impl Fn(&Parameters) -> bool,
    ) -> io::Result<Option<Parameters>> {
        let head = read_head(stream).await?;
        let read = self.read(&head);
        let (page, found) = match read {
            Ok(parameters) if is_ours(&parameters) && parameters.contains_key("error") => (DECLINED, Some(parameters)),
            Ok(parameters) if is_ours(&parameters) => (WELCOME, Some(parameters)),
            Ok(_) => (FOREIGN, None),
            Err(page) => (page, None),
        };
        stream.write_all(page.text().as_bytes()).await?;
        stream.shutdown().await?;
        Ok(found)
    }

    fn read(&self, head: &str) -> Result<Parameters, Page> {
        let mut lines = head.split("\r\n");
        let request = lines.next().unwrap_or_default();
        let host = lines.filter_map(|line| line.split_once(':')).filter(|(name, _)| name.eq_ignore_ascii_case("host"));
        let hosts: Vec<&str> = host.map(|(_, value)| value.trim()).collect();
        // A name that resolves to this machine is not this machine's name (DNS rebinding).
        if hosts != [self.address.to_string().as_str()] {
            return Err(FOREIGN);
        }
        let mut words = request.split(' ');
        let (Some("GET"), Some(target), Some("HTTP/1.1"), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(FOREIGN);
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path != PATH {
            return Err(NOTHING);
        }
        parameters(query).ok_or(FOREIGN)
    }
}

async fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut buffer = [0; 2048];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = stream.read(&mut buffer).await?;
        if count == 0 || head.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// `None` where a name stands twice or something is no UTF-8: such an answer has no one meaning (RFC 6749 §3.1).
fn parameters(query: &str) -> Option<Parameters> {
    let mut all = Parameters::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if all.insert(form_value(name)?, form_value(value)?).is_some() {
            return None;
        }
    }
    Some(all)
}

/// As forms are written (URL Standard, application/x-www-form-urlencoded).
fn form_value(text: &str) -> Option<String> {
    unescaped(&text.replace('+', " "))
}

/// What the browser shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Page {
    status: &'static str,
    says: &'static str,
}

const WELCOME: Page = Page { status: "200 OK", says: "The terminal goes on from here. This page can be closed." };
const DECLINED: Page =
    Page { status: "200 OK", says: "Nobody was signed in. The terminal says why; this page can be closed." };
const FOREIGN: Page =
    Page { status: "400 Bad Request", says: "This is no answer to the sign-in that the terminal waits for." };
const NOTHING: Page = Page { status: "404 Not Found", says: "There is nothing here." };

impl Page {
    fn text(self) -> String {
        let Self { status, says } = self;
        let body = format!("<!doctype html><meta charset=\"utf-8\"><title>breakglass</title><p>{says}\n");
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n\
             Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\nConnection: close\r\n\r\n{body}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn call(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        said
    }

    #[tokio::test]
    async fn only_the_awaited_answer_ends_the_wait() {
        let loopback = Loopback::bind().await.unwrap();
        let address = loopback.address;
        let waiting = tokio::spawn(async move {
            let is_ours = |parameters: &Parameters| parameters.get("state").is_some_and(|state| state == "ours");
            loopback.answer(is_ours).await.unwrap()
        });
        let host = format!("Host: {address}\r\n\r\n");
        for (request, status) in [
            (format!("GET / HTTP/1.1\r\n{host}"), "404"),
            (format!("GET /callback/x?state=ours&code=c HTTP/1.1\r\n{host}"), "404"),
            (format!("POST /callback?state=ours&code=c HTTP/1.1\r\n{host}"), "400"),
            (format!("GET /callback?state=other&code=c HTTP/1.1\r\n{host}"), "400"),
            (format!("GET /callback?code=c HTTP/1.1\r\n{host}"), "400"),
            (format!("GET /callback?state=ours&state=ours&code=c HTTP/1.1\r\n{host}"), "400"),
            (format!("GET /callback?state=ours&code=%ff HTTP/1.1\r\n{host}"), "400"),
            ("GET /callback?state=ours&code=c HTTP/1.1\r\nHost: evil.test\r\n\r\n".to_owned(), "400"),
            (format!("GET /callback?state=ours&code=c HTTP/1.1\r\nHost: evil.test\r\n{host}"), "400"),
        ] {
            let said = call(address, &request).await;
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {said}");
            assert!(!said.contains("ours") && !said.contains("evil"), "{said}");
        }
        drop(TcpStream::connect(address).await.unwrap());
        let said = call(address, &format!("GET /callback?state=ours&code=a%2Bb+c HTTP/1.1\r\n{host}")).await;
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
        assert_eq!(waiting.await.unwrap()["code"], "a+b c");
    }
}
