//! The stand-ins alone, each as a server of its own: what a composition of containers runs.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use tokio::net::{TcpListener, UnixListener};

use super::contract_api::world::World;
use super::contract_api::{bind_local, serve_contracts};
use super::issuer::{DemoIssuer, WARNING};
use super::parts::failed;
use super::run::interrupted;
use super::serve::{Listener, Transport, tls_transport};
use crate::cli::args::{DemoApiArgs, DemoIssuerArgs};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::clock::Clock;
use crate::domain::Issuer;

/// Serves the issuer until it is told to end.
///
/// # Errors
/// When it cannot listen, or its certificate cannot be used.
pub(super) async fn issuer(args: DemoIssuerArgs, out: &mut Output) -> Result<(), Failure> {
    let transport = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => {
            tls_transport(certificate, key).map_err(|error| failed("the certificate cannot be used", &error))?
        }
        _ => Transport::Plain,
    };
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| failed(&format!("cannot listen on {}", args.listen), &error))?;
    let url = match args.url {
        Some(url) => url,
        None => own_url(&listener, &transport)?,
    };
    out.note(&format!("{url}: {WARNING}"));
    let issuer = DemoIssuer::new(url, args.audiences, Clock::System)
        .map_err(|error| failed("the issuer cannot be made", &error))?;
    issuer.serve(Listener::Tcp(listener, transport), interrupted()).await;
    Ok(())
}

fn own_url(listener: &TcpListener, transport: &Transport) -> Result<Issuer, Failure> {
    let scheme = if matches!(transport, Transport::Tls(_)) { "https" } else { "http" };
    let port = listener.local_addr().map_err(|error| failed("no address", &error))?.port();
    format!("{scheme}://localhost:{port}").parse().map_err(|error| failed("the address cannot be used", &error))
}

/// Serves the contract API until it is told to end.
///
/// # Errors
/// When it cannot listen, or only where others could reach it around the sidecar.
pub(super) async fn api(args: DemoApiArgs, out: &mut Output) -> Result<(), Failure> {
    let (listener, place) = match &args.socket {
        Some(path) => (bind_socket(path).map(Listener::from), path.display().to_string()),
        None => (bind_local(args.listen).await, args.listen.to_string()),
    };
    let listener = listener.map_err(|error| failed(&format!("cannot listen on {place}"), &error))?;
    out.note(&format!("the contract API listens on {place}"));
    serve_contracts(listener, World::demo(), interrupted()).await;
    Ok(())
}

/// A socket that nobody answers on any more is what an earlier run left behind.
fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

/// Connecting to a plain file is refused just as connecting to a dead socket is, and a plain file is someone's.
fn is_abandoned(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    is_socket && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_taken_over_from_the_dead_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let alive = bind_socket(&path).unwrap();
        assert_eq!(bind_socket(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(alive);
        assert!(path.exists(), "a socket outlives its process");
        assert!(bind_socket(&path).is_ok());
        let file = folder.path().join("precious");
        std::fs::write(&file, "x").unwrap();
        assert!(bind_socket(&file).is_err() && file.exists(), "what is no socket stays");
    }
}
