//! What can be typed: verbs and flags, by clap. Text becomes domain values here; a token never has a flag, since
//! command lines are seen by every process of the machine.

mod audit;
mod certs;
mod claim;
mod decisions;
mod demo;
mod erase;
mod justify;
mod policy;
mod report;
mod sign_in;
mod stopping;
mod using;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use audit::{AuditArgs, AuditVerb, TrustArgs, WitnessArgs};
pub use certs::{CertsArgs, CertsDevArgs, CertsVerb};
pub use claim::ClaimArgs;
pub use decisions::{
    ApproveArgs, DenyArgs, RequestStateFilter, RequestsArgs, RequestsFilter, RequestsVerb, ReviewArgs, ReviewFilter,
    WithdrawArgs,
};
pub use demo::{DemoApiArgs, DemoArgs, DemoIssuerArgs, DemoPart, DemoStoryArgs};
pub use erase::{EraseArgs, EraseVerb, ErasureArgs, WhyErase};
pub use justify::Justify;
pub use policy::{
    BindingChoice, PolicyApplyArgs, PolicyArgs, PolicyCheckArgs, PolicyDiffArgs, PolicyExplainArgs, PolicyFiles,
    PolicyShowArgs, PolicyTestArgs, PolicyVerb, ProposalArgs,
};
pub use report::{ReportArgs, Shape, parse_time};
pub use sign_in::{LoginArgs, TokenArgs};
pub use stopping::{FreezeArgs, RevokeArgs, UnfreezeArgs};
pub use using::{EnvArgs, ProxyArgs, Shell, Which};

use crate::domain::{Action, GrantId, Resource, ServiceName};

const AFTER_HELP: &str = "\
Environment:
  BREAKGLASS_CONTROL, BREAKGLASS_CA     as --control and --ca
  BREAKGLASS_TOKEN[_FILE]               access token for the control plane, in the place of a sign-in
  BREAKGLASS_IDENTITY[_FILE]            access token for the contract API; default: the same token
  BREAKGLASS_DPOP_KEY                   as --dpop-key
  BREAKGLASS_CLIENT_CERT, …_CLIENT_KEY  as --client-cert and --client-key
  BROWSER                               what opens the page to sign in at
  NO_COLOR                              no colour

Exit codes:
  0 done                                4 not authenticated
  1 failed, or policies differ          5 unreachable, or no answer in time
  2 the command line is wrong           6 not enforced everywhere in time
  3 refused by policy or a sidecar      7 what was checked does not hold
  `breakglass curl` ends with curl's own code where curl ran last.";

/// Break-glass access: one person, one reason, one resource, for minutes.
#[derive(Debug, Parser)]
#[command(name = "breakglass", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct CommandLine {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags that every verb takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Address of the control plane
    #[arg(long, global = true, value_name = "URL", env = "BREAKGLASS_CONTROL")]
    pub control: Option<String>,
    /// Trust the certificate authorities in this PEM file instead of the system's
    #[arg(long, global = true, value_name = "FILE", env = "BREAKGLASS_CA")]
    pub ca: Option<PathBuf>,
    /// File that holds the access token for the control plane
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// File that holds the access token for the contract API
    #[arg(long, global = true, value_name = "FILE")]
    pub identity_file: Option<PathBuf>,
    /// File with the private key that grants with the binding dpop are bound to; made where it is missing
    #[arg(long, global = true, value_name = "FILE", env = "BREAKGLASS_DPOP_KEY")]
    pub dpop_key: Option<PathBuf>,
    /// Client certificate for the control plane, which grants with the binding mtls are bound to
    #[arg(long, global = true, value_name = "FILE", env = "BREAKGLASS_CLIENT_CERT", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// The private key of the client certificate
    #[arg(long, global = true, value_name = "FILE", env = "BREAKGLASS_CLIENT_KEY", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
    /// Shape of what is printed on standard output
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Say nothing on standard error but errors and questions
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// The control plane's own shapes
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Sign in, and stay signed in
    Login(LoginArgs),
    /// End the sign-in, here and at the issuer
    Logout,
    /// Show whom the control plane takes you for
    Whoami,
    /// Print an access token of the sign-in: a credential
    Token(TokenArgs),
    /// Ask for elevation; returns when every connected sidecar enforces the grant
    Request(RequestArgs),
    /// List requests, or show one
    Requests(RequestsArgs),
    /// Agree to somebody else's request
    Approve(ApproveArgs),
    /// Say no to somebody else's request
    Deny(DenyArgs),
    /// Take your own request back
    Withdraw(WithdrawArgs),
    /// Bind your key or client certificate to a grant that was approved without
    Claim(ClaimArgs),
    /// Run curl; when the answer is a break-glass refusal, elevate and send once more
    Curl(CurlArgs),
    /// Print what a shell needs to use a live grant with plain curl
    Env(EnvArgs),
    /// Serve a live grant to a client that can't set headers
    Proxy(ProxyArgs),
    /// List grants, or show one
    Grants(GrantsArgs),
    /// End a grant, or many, now, and watch it arrive at the sidecars
    Revoke(RevokeArgs),
    /// List revocations: who ended what, why, and how long it took to arrive
    Revocations,
    /// Stop all overrides and new grants of a service, or of everything
    Freeze(FreezeArgs),
    /// Lift a freeze
    Unfreeze(UnfreezeArgs),
    /// List what is frozen
    Freezes,
    /// Say what you found about somebody else's ended grant
    Review(ReviewArgs),
    /// Report on a grant or a period, out of the ledger
    Report(ReportArgs),
    /// Erase what is personal: of a person, or what is old; the ledger stays as it is
    Erase(EraseArgs),
    /// List the sidecars that the control plane knows
    Sidecars,
    /// Check audit logs and the ledger, and prove what is in it
    Audit(AuditArgs),
    /// Witness ledgers of others: cosign their checkpoints as long as each grows out of the one before
    Witness(WitnessArgs),
    /// Make certificates
    Certs(CertsArgs),
    /// Check configuration files
    Config(ConfigArgs),
    /// Check, explain, compare and test a policy, and put it in force
    Policy(PolicyArgs),
    /// Play the 2:13 story on this machine
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
pub struct RequestArgs {
    /// The contract API, such as payments
    #[arg(long, value_name = "NAME")]
    pub service: ServiceName,
    /// What it is about, such as contract/C-1042; may be repeated
    #[arg(long = "resource", value_name = "TYPE/ID", required = true)]
    pub resources: Vec<Resource>,
    /// What is to be done, such as payment.release; may be repeated
    #[arg(long = "action", value_name = "VERB", required = true)]
    pub actions: Vec<Action>,
    #[command(flatten)]
    pub justify: Justify,
    /// Leave a request that waits for approval, and end
    #[arg(long, conflicts_with = "approval_wait")]
    pub no_wait: bool,
}

#[derive(Debug, Args)]
#[command(override_usage = "breakglass curl [--reason CODE] [--ticket TICKET] [--yes] [--] CURL-ARGUMENTS...")]
pub struct CurlArgs {
    #[command(flatten)]
    pub justify: Justify,
    /// Send the override without asking
    #[arg(long)]
    pub yes: bool,
    /// What curl is given, as it is
    #[arg(last = true, required = true, value_name = "CURL-ARGUMENTS")]
    pub curl: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct GrantsArgs {
    #[command(subcommand)]
    pub what: Option<GrantsVerb>,
    #[command(flatten)]
    pub filter: GrantsFilter,
}

#[derive(Debug, Clone, Default, Args)]
pub struct GrantsFilter {
    /// Only those of this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<ServiceName>,
    /// Only those in this state
    #[arg(long, value_enum)]
    pub state: Option<StateFilter>,
    /// Only those whose review stands like this
    #[arg(long, value_enum)]
    pub review: Option<ReviewFilter>,
    /// Only your own
    #[arg(long)]
    pub mine: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum StateFilter {
    Active,
    Expired,
    Revoked,
    UsedUp,
}

impl StateFilter {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::UsedUp => "used_up",
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum GrantsVerb {
    /// Show one grant
    Show { id: GrantId },
    /// Print the grant token alone: a credential, only for its requester
    Token { id: GrantId },
}

#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub what: ConfigVerb,
}

#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Report every mistake in configuration files
    Check {
        /// Files, or folders whose .toml files are all checked
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
}

/// Reads `90s`, `15m`, `1h30m`. A number without a unit is refused: nobody knows whether it means seconds.
///
/// # Errors
/// What is wrong, and an example.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no span of time: say 90s, 15m or 1h30m");
    let mut seconds = 0_u64;
    let mut digits = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(wrong()),
        };
        let count: u64 = digits.parse().map_err(|_| wrong())?;
        seconds = count.checked_mul(unit).and_then(|span| seconds.checked_add(span)).ok_or_else(wrong)?;
        digits.clear();
    }
    if !digits.is_empty() || seconds == 0 { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

fn parse_note(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length > 500 {
        Err(format!("a note has at most 500 characters, this one has {length}"))
    } else {
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn spans() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("1h30m", 5400), ("2h", 7200)] {
            assert_eq!(parse_span(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        for bad in ["", "15", "m", "0s", "1d", "-1m", "1.5h", "99999999999999999999h", "9999999999999999999h"] {
            assert!(parse_span(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_request_names_exact_things() {
        let parse = |resource: &str| {
            CommandLine::try_parse_from([
                "breakglass",
                "request",
                "--service",
                "payments",
                "--resource",
                resource,
                "--action",
                "payment.release",
            ])
        };
        assert!(parse("contract/C-1042").is_ok());
        assert!(parse("contract/*").is_err(), "a wildcard is never a resource");
    }

    #[test]
    fn no_flag_takes_a_token() {
        for verb in CommandLine::command().get_subcommands() {
            for arg in verb.get_arguments().chain(CommandLine::command().get_arguments()) {
                let name = arg.get_long().unwrap_or_default();
                assert!(!["token", "identity", "password", "secret"].contains(&name), "--{name} would stand in ps");
            }
        }
    }

    #[test]
    fn grants_lists_or_shows() {
        let CommandLine { verb: Verb::Grants(args), .. } =
            CommandLine::try_parse_from(["breakglass", "grants", "--mine", "--state", "used_up"]).unwrap()
        else {
            panic!("not grants")
        };
        assert!(args.what.is_none() && args.filter.mine);
        assert_eq!(args.filter.state, Some(StateFilter::UsedUp));
        assert!(CommandLine::try_parse_from(["breakglass", "grants", "show", "not-an-id"]).is_err());
        assert!(CommandLine::try_parse_from(["breakglass", "grants", "show", "g-0123456789ab"]).is_ok());
    }

    #[test]
    fn demo_has_parts() {
        for line in [&["breakglass", "demo"][..], &["breakglass", "demo", "--once"], &["breakglass", "demo", "story"]] {
            assert!(CommandLine::try_parse_from(line).is_ok(), "{line:?}");
        }
    }
}
