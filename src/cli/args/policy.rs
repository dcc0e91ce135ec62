//! `breakglass policy`: its verbs and flags.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::parse_span;
use crate::domain::{Action, Binding, Person, ProposalId, ReasonCode, Resource, ServiceName, Ticket};

#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    pub what: PolicyVerb,
}

#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Report every mistake of a policy and of the service files it speaks of
    Check(PolicyCheckArgs),
    /// Say which tier a request would get and why, and what it would demand
    Explain(Box<PolicyExplainArgs>),
    /// Say who gains and who loses by another policy; exit code 1 when they differ
    Diff(PolicyDiffArgs),
    /// Hold a policy to the verdicts that a file expects
    Test(PolicyTestArgs),
    /// Put a policy in force; shows first what changes and which live grants end
    Apply(PolicyApplyArgs),
    /// Print the policy in force
    Show(PolicyShowArgs),
    /// List changes that wait, or waited, for a second administrator
    Proposals,
    /// Confirm a change that another administrator proposed
    Confirm(ProposalArgs),
    /// Take a proposed change back
    Withdraw(ProposalArgs),
}

#[derive(Debug, Args)]
pub struct PolicyApplyArgs {
    #[command(flatten)]
    pub files: PolicyFiles,
    /// Why, for the record; at most 500 characters
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct PolicyShowArgs {
    /// The file of this service instead of the policy's
    #[arg(long, value_name = "NAME")]
    pub service: Option<ServiceName>,
}

#[derive(Debug, Args)]
pub struct ProposalArgs {
    /// The proposal, such as p-0123456789ab
    pub id: ProposalId,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct PolicyCheckArgs {
    /// The policy and service files, or folders that hold them
    #[arg(value_name = "PATH", required_unless_present = "config")]
    pub paths: Vec<PathBuf>,
    /// The control plane's file, which names them
    #[arg(long, value_name = "FILE", conflicts_with = "paths")]
    pub config: Option<PathBuf>,
}

/// Where the policy and its service files are.
#[derive(Debug, Clone, Default, Args)]
pub struct PolicyFiles {
    /// The policy and service files, or folders that hold them; may be repeated
    #[arg(long = "files", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The control plane's file, which names them
    #[arg(long, value_name = "FILE", conflicts_with = "paths")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct PolicyExplainArgs {
    #[command(flatten)]
    pub files: PolicyFiles,
    /// Who asks: a name to show
    #[arg(long = "as", value_name = "PERSON")]
    pub person: Person,
    /// A group that the person is in; may be repeated
    #[arg(long = "group", value_name = "NAME")]
    pub groups: Vec<String>,
    /// A schedule that the person is on call in; may be repeated
    #[arg(long, value_name = "SCHEDULE")]
    pub on_call: Vec<String>,
    /// The contract API, such as payments
    #[arg(long, value_name = "NAME")]
    pub service: ServiceName,
    /// What it is about, such as contract/C-1042; may be repeated
    #[arg(long = "resource", value_name = "TYPE/ID", required = true)]
    pub resources: Vec<Resource>,
    /// What is to be done, such as payment.release; may be repeated
    #[arg(long = "action", value_name = "VERB", required = true)]
    pub actions: Vec<Action>,
    /// Reason code; default: the first of the policy
    #[arg(long, value_name = "CODE")]
    pub reason: Option<ReasonCode>,
    /// Reference in the tracker; default: an example of the policy
    #[arg(long, value_name = "TICKET")]
    pub ticket: Option<Ticket>,
    /// For how long, such as 15m; default: the tier's own
    #[arg(long = "for", visible_alias = "duration", value_name = "SPAN", value_parser = parse_span)]
    pub duration: Option<Duration>,
    /// How many overrides; default: the tier's own
    #[arg(long, value_name = "N")]
    pub uses: Option<u32>,
    /// Which tier, where several fit
    #[arg(long, value_name = "NAME")]
    pub tier: Option<String>,
    /// How the caller would prove that the grant is theirs; default: the tier's own
    #[arg(long, value_enum)]
    pub binding: Option<BindingChoice>,
    /// Context class of the person's login
    #[arg(long, value_name = "ACR")]
    pub acr: Option<String>,
    /// How long ago the person logged in, such as 5m
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub auth_age: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BindingChoice {
    Identity,
    Mtls,
    Dpop,
    Bearer,
}

impl From<BindingChoice> for Binding {
    fn from(choice: BindingChoice) -> Self {
        match choice {
            BindingChoice::Identity => Self::Identity,
            BindingChoice::Mtls => Self::Mtls,
            BindingChoice::Dpop => Self::Dpop,
            BindingChoice::Bearer => Self::Bearer,
        }
    }
}

#[derive(Debug, Args)]
pub struct PolicyDiffArgs {
    /// The policy as it is: a policy file, a folder with policy and services, or a control plane's file
    pub old: PathBuf,
    /// The policy as it would be
    pub new: PathBuf,
    /// Service files, or folders of them, where a policy stands alone; may be repeated
    #[arg(long = "services", value_name = "PATH")]
    pub services: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct PolicyTestArgs {
    /// The cases
    pub file: PathBuf,
    #[command(flatten)]
    pub files: PolicyFiles,
}
