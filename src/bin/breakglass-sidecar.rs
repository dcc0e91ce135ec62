//! The sidecar's program: serve, check the configuration, explain a request, ask a running one how it is, look after its
//! audit log.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. stdout is data, stderr is talk.

#[path = "breakglass-sidecar/audit.rs"]
mod audit;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use breakglass::clock::Clock;
use breakglass::config::sidecar::SidecarConfig;
use breakglass::config::{ConfigError, ServiceConfig};
use breakglass::error_chain::error_chain;
use breakglass::sidecar::explain::explain;
use breakglass::sidecar::signals::{EndError, Signals};
use breakglass::sidecar::sockets::Passed;
use breakglass::sidecar::successor::Program;
use breakglass::sidecar::{Sidecar, StartError};
use breakglass::telemetry::{HealthError, LogError, LogFormat, LogSetup, ProcessName, health, name_process};
use clap::{Parser, Subcommand};
use http::{Method, Uri};

/// The sidecar of break-glass access: stands before one contract API and enforces grants.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None)]
struct Args {
    /// The sidecar's file; it names the service file.
    #[arg(
        long,
        value_name = "FILE",
        env = "BREAKGLASS_SIDECAR_CONFIG",
        default_value = "config/sidecar.toml",
        global = true
    )]
    config: PathBuf,

    /// What to log: a level, or a filter such as "info,breakglass::sidecar=debug".
    #[arg(long, value_name = "FILTER", env = "BREAKGLASS_LOG", default_value = "info", global = true)]
    log: String,

    /// How to log: text or json.
    #[arg(long, value_name = "FORMAT", env = "BREAKGLASS_LOG_FORMAT", default_value = "text", global = true)]
    log_format: LogFormat,

    /// Let libraries log below info too. They may print headers, tokens included.
    #[arg(long, env = "BREAKGLASS_LOG_FOREIGN", global = true)]
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
    /// Show what a request is to this service: canonical target, route, resource, action
    Explain {
        /// The method, such as POST
        method: Method,
        /// An absolute URL, or a path with query
        url: Uri,
        /// A service file, instead of the one the sidecar's file names
        #[arg(long, value_name = "FILE")]
        service: Option<PathBuf>,
    },
    /// Look after the audit log
    Audit {
        #[command(subcommand)]
        command: audit::AuditCommand,
    },
    /// Ask an admin port's /readyz or /livez; exits 0 when it answers 2xx
    Health {
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9901/readyz")]
        url: Uri,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Report every mistake of the sidecar's file and the service file
    Check,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Health(#[from] HealthError),
    #[error(transparent)]
    Audit(#[from] audit::AuditFailure),
    #[error(transparent)]
    End(#[from] EndError),
    #[error("the answer could not be written")]
    Json(#[from] serde_json::Error),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::Log(_) => ExitCode::from(2),
            Self::Audit(failure) => failure.exit_code(),
            Self::Start(_) | Self::Io(_) | Self::Health(_) | Self::End(_) | Self::Json(_) => ExitCode::FAILURE,
        }
    }
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(code) => code,
        Err(failure) => {
            // When stderr is gone there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "breakglass-sidecar: {}", error_chain(&failure));
            failure.exit_code()
        }
    }
}

fn run(args: Args) -> Result<ExitCode, Failure> {
    LogSetup::new(&args.log, args.log_format).foreign_detail(args.log_foreign).init()?;
    match args.command.unwrap_or(Command::Serve) {
        Command::Audit { command } => return Ok(audit::run(&args.config, command)?),
        Command::Serve => serve(&args.config),
        Command::Config { command: ConfigCommand::Check } => check(&args.config),
        Command::Explain { method, url, service } => {
            let service = match service {
                Some(file) => ServiceConfig::load(&file)?,
                None => SidecarConfig::load(&args.config)?.service,
            };
            say(&serde_json::to_string_pretty(&explain(&service, &method, &url))?)
        }
        Command::Health { url } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            say(runtime.block_on(health(&url))?.trim_end())
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

fn say(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn check(file: &Path) -> Result<(), Failure> {
    let config = SidecarConfig::load(file)?;
    for warning in config.warnings(file) {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    say(&format!("{}: service {}, {} routes", file.display(), config.service.name, config.service.routes.len()))
}

fn serve(file: &Path) -> Result<(), Failure> {
    let program = Program::of_this_process()?;
    let passed = Passed::from_env().map_err(StartError::from)?;
    let config = SidecarConfig::load(file)?;
    name_process(ProcessName {
        program: "breakglass-sidecar",
        service: Some(config.service.name.to_string()),
        instance: Some(config.instance.to_string()),
    });
    for warning in config.warnings(file) {
        tracing::warn!(%warning, "configuration");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _entered = runtime.enter();
        Signals::listen()?
    };
    let running = Sidecar::start_on(passed, config, Clock::System)?;
    tracing::info!(address = %running.address(), admin = %running.admin_address(), assertion = %running.assertion_address(), "serving");
    Ok(runtime.block_on(signals.obey(running, &program))?)
}
