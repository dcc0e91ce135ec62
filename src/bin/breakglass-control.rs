//! The control plane's program: serve, check the configuration, ask a running one how it is.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. stdout is data, stderr is talk.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use breakglass::clock::Clock;
use breakglass::config::ConfigError;
use breakglass::config::control::ControlConfig;
use breakglass::control::{Control, StartError, error_chain};
use breakglass::http::{Client, Limits};
use clap::{Parser, Subcommand, ValueEnum};
use http::{HeaderMap, Method, Uri};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The control plane of break-glass access: issues and revokes grants, and tells the sidecars.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None)]
struct Args {
    /// The control plane's file; it names the policy and the service files.
    #[arg(long, value_name = "FILE", env = "BREAKGLASS_CONTROL_CONFIG", default_value = "config/control.toml")]
    config: PathBuf,

    /// What to log: a level, or a filter such as "info,breakglass::control=debug".
    #[arg(long, value_name = "FILTER", env = "BREAKGLASS_LOG", default_value = "info")]
    log: String,

    #[arg(long, value_enum, env = "BREAKGLASS_LOG_FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT (the default)
    Serve,
    /// Look at the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Ask an admin port's /readyz or /livez; exits 0 when it answers 2xx
    Health {
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9902/readyz")]
        url: Uri,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Report every mistake of the file, the policy and the service files
    Check,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Config(ConfigError),
    #[error("the log filter is not understood: {0}")]
    LogFilter(tracing_subscriber::filter::ParseError),
    #[error("{0}")]
    Start(String),
    #[error("{0}")]
    Runtime(#[from] std::io::Error),
    #[error("{0}")]
    Health(String),
    #[error("a part of the control plane ended by itself; the log says why")]
    Ended,
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::Start(error_chain(&error))
    }
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::LogFilter(_) => ExitCode::from(2),
            Self::Start(_) | Self::Runtime(_) | Self::Health(_) | Self::Ended => ExitCode::FAILURE,
        }
    }
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // When stderr is gone there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "breakglass-control: {failure}");
            failure.exit_code()
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    init_log(&args)?;
    let runtime = tokio::runtime::Runtime::new()?;
    match args.command.unwrap_or(Command::Serve) {
        Command::Serve => runtime.block_on(serve(&args.config)),
        Command::Config { command: ConfigCommand::Check } => check(&args.config),
        Command::Health { url } => runtime.block_on(health(&url)),
    }
}

fn init_log(args: &Args) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&args.log).map_err(Failure::LogFilter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

async fn serve(file: &Path) -> Result<(), Failure> {
    let config = ControlConfig::load(file).map_err(Failure::Config)?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut running = Control::start(config, Clock::System).await?;
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = running.failed() => Err(Failure::Ended),
    };
    tracing::info!("stopping");
    running.stop().await;
    ended
}

fn check(file: &Path) -> Result<(), Failure> {
    let config = ControlConfig::load(file).map_err(Failure::Config)?;
    Control::check(&config)?;
    let services: Vec<_> = config.services.iter().map(|service| service.checked.name.as_str()).collect();
    writeln!(
        std::io::stdout(),
        "{}: ok ({} tiers; services: {})",
        file.display(),
        config.policy.checked.tiers.len(),
        services.join(", ")
    )?;
    Ok(())
}

async fn health(url: &Uri) -> Result<(), Failure> {
    let client = Client::new(None, Limits::default());
    let answer = client
        .send(Method::GET, url, HeaderMap::new(), bytes::Bytes::new())
        .await
        .map_err(|error| Failure::Health(error_chain(&error)))?;
    let body = String::from_utf8_lossy(&answer.body);
    writeln!(std::io::stdout(), "{}", body.trim_end())?;
    if answer.status.is_success() { Ok(()) } else { Err(Failure::Health(format!("{url} answered {}", answer.status))) }
}
