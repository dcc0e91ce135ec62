//! The stand-ins alone, each as a server of its own: what a composition of containers runs.

use std::io;
use std::path::Path;

use tokio::net::{TcpListener, UnixListener};

use super::contract_api::keys::Trust;
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
use crate::token::PublicKey;
use crate::unix_socket;

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
    serve_contracts(listener, World::demo(), trust(args)?, interrupted()).await;
    Ok(())
}

fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    UnixListener::from_std(unix_socket::bind(path)?)
}

/// The sidecars it believes.
fn trust(args: DemoApiArgs) -> Result<Trust, Failure> {
    let roots = match &args.roots {
        Some(file) => read_roots(file).map_err(|error| failed(&format!("cannot use {}", file.display()), &error))?,
        None => Vec::new(),
    };
    Ok(Trust::new(args.service, args.keys, roots, Clock::System))
}

fn read_roots(file: &Path) -> io::Result<Vec<PublicKey>> {
    let text = std::fs::read_to_string(file)?;
    let roots = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let roots = roots.map(|root| root.parse().map_err(io::Error::other)).collect::<io::Result<Vec<_>>>()?;
    if roots.is_empty() { Err(io::Error::other("it holds no root key")) } else { Ok(roots) }
}
