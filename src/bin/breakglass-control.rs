//! The control plane's program: serve, check the configuration, look after its keys, ask a running one how it is.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 7 the database does not hold together. stdout is data, stderr is talk.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use breakglass::clock::Clock;
use breakglass::config::ConfigError;
use breakglass::config::control::ControlConfig;
use breakglass::control::openapi;
use breakglass::control::{Control, StartError};
use breakglass::error_chain::error_chain;
use breakglass::telemetry::{HealthError, LogError, LogFormat, LogSetup, ProcessName, health, name_process};
use clap::{Parser, Subcommand};
use http::Uri;
use tokio::signal::unix::{SignalKind, signal};

#[path = "breakglass-control/database.rs"]
mod database;
#[path = "breakglass-control/erasures.rs"]
mod erasures;
#[path = "breakglass-control/keys.rs"]
mod keys;
use database::{DatabaseCommand, DatabaseFailure};

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

    /// How to log: text or json.
    #[arg(long, value_name = "FORMAT", env = "BREAKGLASS_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,

    /// Let libraries log below info too. They may print headers, tokens included.
    #[arg(long, env = "BREAKGLASS_LOG_FOREIGN")]
    log_foreign: bool,

    #[command(subcommand)]
    command: Option<Command>,
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
    /// Look after the private keys
    Keys {
        #[command(subcommand)]
        command: keys::KeysCommand,
    },
    #[command(flatten)]
    Database(DatabaseCommand),
    /// Print the description of the API (OpenAPI 3.1), as /v1/openapi.json serves it
    Openapi,
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
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("{0}")]
    Start(String),
    #[error("{0}")]
    Runtime(#[from] std::io::Error),
    #[error("{}", error_chain(.0))]
    Health(#[from] HealthError),
    #[error("{}", error_chain(.0))]
    Keys(#[from] keys::KeysFailure),
    #[error("{}", error_chain(.0))]
    Database(#[from] DatabaseFailure),
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
            Self::Config(_) | Self::Log(_) => ExitCode::from(2),
            Self::Keys(failure) if failure.is_usage() => ExitCode::from(2),
            Self::Keys(_) => ExitCode::FAILURE,
            Self::Database(failure) => ExitCode::from(failure.exit_code()),
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
    LogSetup::new(&args.log, args.log_format).foreign_detail(args.log_foreign).init()?;
    name_process(ProcessName { program: "breakglass-control", ..ProcessName::default() });
    let runtime = tokio::runtime::Runtime::new()?;
    match args.command.unwrap_or(Command::Serve) {
        Command::Serve => runtime.block_on(serve(&args.config)),
        Command::Config { command: ConfigCommand::Check } => check(&args.config),
        Command::Keys { command } => Ok(runtime.block_on(keys::run(&args.config, command))?),
        Command::Database(command) => Ok(runtime.block_on(database::run(&args.config, command))?),
        Command::Openapi => Ok(std::io::stdout().write_all(&openapi::document().text)?),
        Command::Health { url } => Ok(writeln!(std::io::stdout(), "{}", runtime.block_on(health(&url))?.trim_end())?),
    }
}

/// A connection is a descriptor, and there may be ten thousand sidecars: the limit is raised as far as it may be.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit on open files could not be raised");
    }
}

async fn serve(file: &Path) -> Result<(), Failure> {
    raise_descriptor_limit();
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
