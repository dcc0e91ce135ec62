//! What `request` and `curl` both take: why, for how long, and how long to wait.

use std::time::Duration;

use clap::Args;

use super::{BindingChoice, parse_span};
use crate::domain::{ReasonCode, Ticket};

/// How a request for elevation is justified and bounded: shared by `request` and `curl`.
#[derive(Debug, Clone, Default, Args)]
pub struct Justify {
    /// Reason code; asked for on a terminal
    #[arg(long, value_name = "CODE")]
    pub reason: Option<ReasonCode>,
    /// Reference in the tracker; asked for on a terminal
    #[arg(long, value_name = "TICKET")]
    pub ticket: Option<Ticket>,
    /// How long, such as 90s, 15m or 1h30m; default: the tier's own
    #[arg(long = "for", value_name = "SPAN", value_parser = parse_span)]
    pub duration: Option<Duration>,
    /// How many overrides the grant allows; default: the tier's own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub uses: Option<u32>,
    /// Which tier, where several fit
    #[arg(long, value_name = "NAME")]
    pub tier: Option<String>,
    /// How the grant is to be proven when it is used; default: the tier's first
    #[arg(long, value_enum)]
    pub binding: Option<BindingChoice>,
    /// How long to wait for the sidecars
    #[arg(long, value_name = "SPAN", value_parser = parse_span, default_value = "10s")]
    pub wait: Option<Duration>,
    /// How long to wait for those who approve; default: until the request lapses
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub approval_wait: Option<Duration>,
}
