//! Flags of `claim`.

use std::time::Duration;

use clap::Args;

use super::parse_span;
use crate::domain::GrantId;

#[derive(Debug, Args)]
pub struct ClaimArgs {
    /// The grant
    #[arg(value_name = "ID")]
    pub id: GrantId,
    /// How long to wait for the sidecars
    #[arg(long, value_name = "SPAN", value_parser = parse_span, default_value = "10s")]
    pub wait: Option<Duration>,
}
