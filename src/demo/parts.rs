//! All parts in one process: issuer, contract API, control plane and sidecar, on the example files, in a folder of their
//! own that is gone at the end.

use std::net::SocketAddr;
use std::path::Path;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::contract_api::keys::Trust;
use super::contract_api::serve_contracts;
use super::contract_api::world::World;
use super::examples::{Folder, SERVICE};
use super::issuer::DemoIssuer;
use super::ports::Ports;
use super::serve::{Listener, Transport, tls_transport};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::{self, args::Format};
use crate::clock::Clock;
use crate::config::assertion::UpstreamFacing;
use crate::config::control::ControlConfig;
use crate::config::sidecar::SidecarConfig;
use crate::config::upstream::UpstreamAddress;
use crate::control::{self, Control};
use crate::domain::{Audience, Issuer};
use crate::error_chain::error_chain;
use crate::sidecar::{self, Sidecar};
use crate::token::PublicKey;

/// Times a start is tried again because a port was taken at the last moment.
const ATTEMPTS_MAX: u32 = 3;

/// Everything that runs. To be ended with [`Parts::stop`].
pub(super) struct Parts {
    pub(super) folder: Folder,
    pub(super) issuer_url: String,
    control: control::Running,
    sidecar: sidecar::Running,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Parts {
    /// Starts them in the order of their needs; when this returns, all of them listen.
    ///
    /// # Errors
    /// When one does not start. Those before it are ended.
    pub(super) async fn start() -> Result<Self, Failure> {
        let folder = Folder::make().map_err(|error| failed("no temporary folder", &error))?;
        let certs = folder.certs();
        mint(&certs).await?;
        let mut ports = Ports::claim().map_err(|error| failed("no port is free", &error))?;
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let sidecar_address = ports.free(SIDECAR).map_err(|error| failed("no port is free", &error))?;
        let mut control_config = control_config(&folder)?;
        let issuer_url = issuer(&folder, &ports, &stopping, &mut tasks).await?;
        control_config.issuers.iter_mut().for_each(|known| known.issuer = issuer_url.clone());
        let control = start_control(control_config, &mut ports).await?;
        let started = async {
            contracts(&folder, &control, &stopping, &mut tasks)?;
            start_sidecar(&folder, &control, sidecar_address, &ports, &issuer_url).await
        };
        let started = started.await;
        match started {
            Ok(sidecar) => Ok(Self { folder, issuer_url: issuer_url.to_string(), control, sidecar, stop, tasks }),
            Err(failure) => {
                control.stop().await;
                Err(failure)
            }
        }
    }

    pub(super) fn sidecar_port(&self) -> u16 {
        self.sidecar.address().port()
    }

    pub(super) fn control_port(&self) -> u16 {
        self.control.api_addr.port()
    }

    /// What there is to look at besides the story.
    pub(super) fn places(&self) -> Vec<(&'static str, String)> {
        let (sidecar, control) = (self.sidecar.admin_address(), self.control.admin_addr);
        vec![
            ("sidecar's metrics", format!("http://{sidecar}/metrics")),
            ("sidecar's grants", format!("http://{sidecar}/grants")),
            ("control plane's metrics", format!("http://{control}/metrics")),
            ("identity issuer", self.issuer_url.clone()),
        ]
    }

    /// Ends them in the reverse order: requests under way are finished first. The folder is removed.
    ///
    /// # Errors
    /// When the audit log could not be closed in order.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        let sidecar = self.sidecar;
        let closed = blocking(move || sidecar.stop()).await?;
        self.control.stop().await;
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        closed.map_err(|error| failed("the audit log was not closed in order", &error))
    }
}

const SIDECAR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8443);

/// The certificates, made by the verb that people make them with.
async fn mint(certs: &Path) -> Result<(), Failure> {
    let mut out = Output::of_streams(Box::new(std::io::sink()), Box::new(std::io::sink()), Format::Table);
    let place = certs.to_string_lossy();
    cli::perform(&["certs", "dev", "--days", "1", "--out", &place], &|_| None, &mut out).await.map(|_| ())
}

async fn issuer(
    folder: &Folder,
    ports: &Ports,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<Issuer, Failure> {
    let unusable = |error: std::io::Error| failed("the issuer cannot listen", &error);
    let std_listener = ports.issuer.try_clone().map_err(unusable)?;
    std_listener.set_nonblocking(true).map_err(unusable)?;
    let listener = TcpListener::from_std(std_listener).map_err(unusable)?;
    let port = listener.local_addr().map_err(unusable)?.port();
    let transport = tls_transport(&folder.cert("issuer.pem"), &folder.cert("issuer.key"))
        .map_err(|error| failed("the issuer's certificate cannot be used", &error))?;
    serve_issuer(&format!("https://localhost:{port}"), listener, transport, stopping, tasks)
}

fn serve_issuer(
    url: &str,
    listener: TcpListener,
    transport: Transport,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<Issuer, Failure> {
    let url: Issuer = url.parse().map_err(|error| failed("the issuer's address cannot be used", &error))?;
    let audiences = ["breakglass-control", SERVICE];
    let audiences = audiences.into_iter().map(str::parse).collect::<Result<Vec<Audience>, _>>();
    let audiences = audiences.map_err(|error| failed("the audiences cannot be used", &error))?;
    let issuer = DemoIssuer::new(url.clone(), audiences, Clock::System)
        .map_err(|error| failed("the issuer cannot be made", &error))?;
    tasks.spawn(issuer.serve(Listener::Tcp(listener, transport), stopped(stopping.clone())));
    Ok(url)
}

/// The API believes no more than what the control plane's root certified for sidecars of its service.
fn contracts(
    folder: &Folder,
    control: &control::Running,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<(), Failure> {
    let service = SERVICE.parse().map_err(|error| failed("the service's name cannot be used", &error))?;
    let roots = control.grant_roots().iter().map(|root| root.parse()).collect::<Result<Vec<PublicKey>, _>>();
    let roots = roots.map_err(|error| failed("the control plane's root keys cannot be used", &error))?;
    let keys = vec![UpstreamFacing::Unix(folder.assertion_socket())];
    let trust = Trust::new(service, keys, roots, Clock::System);
    let listener = UnixListener::bind(folder.api_socket())
        .map_err(|error| failed("the contract API cannot listen on its socket", &error))?;
    tasks.spawn(serve_contracts(listener, World::demo(), trust, stopped(stopping.clone())));
    Ok(())
}

fn control_config(folder: &Folder) -> Result<ControlConfig, Failure> {
    ControlConfig::load(&folder.config("control.toml")).map_err(|error| failed("control.toml", &error))
}

/// A port that was free may be taken a moment later: then another is tried.
async fn start_control(mut config: ControlConfig, ports: &mut Ports) -> Result<control::Running, Failure> {
    let wanted = (config.api.address, config.feed.tls.address, config.admin);
    let mut attempt = 1;
    loop {
        config.api.address = free(ports, wanted.0)?;
        config.feed.tls.address = free(ports, wanted.1)?;
        config.admin = free(ports, wanted.2)?;
        let url = format!("https://localhost:{}", config.api.address.port());
        config.issuer = url.parse().map_err(|error| failed("the control plane's address cannot be used", &error))?;
        match Control::start(config.clone(), Clock::System).await {
            Err(control::StartError::Bind { .. }) if attempt < ATTEMPTS_MAX => {
                ports.give_up_friendly();
                attempt += 1;
            }
            started => return started.map_err(|error| failed("the control plane does not start", &error)),
        }
    }
}

async fn start_sidecar(
    folder: &Folder,
    control: &control::Running,
    address: SocketAddr,
    ports: &Ports,
    issuer: &Issuer,
) -> Result<sidecar::Running, Failure> {
    // Loaded only now: it pins the root key that the control plane made when it started.
    let file = folder.config("sidecar.toml");
    let mut config = SidecarConfig::load(&file).map_err(|error| failed("sidecar.toml", &error))?;
    config.listen.address = address;
    config.admin = free(ports, config.admin)?;
    config.feed.addresses = vec![format!("localhost:{}", control.feed_addr.port())];
    config.request_url = Some(format!("https://localhost:{}/request", control.api_addr.port()));
    config.upstream.address = UpstreamAddress::Unix(folder.api_socket());
    config.assertion = UpstreamFacing::Unix(folder.assertion_socket());
    config.issuers.iter_mut().for_each(|known| known.issuer = issuer.clone());
    let started = blocking(move || Sidecar::start(config, Clock::System)).await?;
    started.map_err(|error| failed("the sidecar does not start", &error))
}

fn free(ports: &Ports, wanted: SocketAddr) -> Result<SocketAddr, Failure> {
    ports.free(wanted).map_err(|error| failed("no port is free", &error))
}

/// The sidecar brings runtimes of its own, which must not be started or ended on a task of ours.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| failed("a thread ended out of order", &error))
}

pub(super) async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the sender is gone: that is the end too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

pub(super) fn failed(what: &str, error: &dyn std::error::Error) -> Failure {
    let hint = "look at the first cause; with BREAKGLASS_LOG=info the parts say more on standard error";
    Failure::new(Exit::Failed, format!("{what}: {}", error_chain(error)), hint)
}
