//! Flags of `certs`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::domain::ServiceName;

#[derive(Debug, Args)]
pub struct CertsArgs {
    #[command(subcommand)]
    pub what: CertsVerb,
}

#[derive(Debug, Subcommand)]
pub enum CertsVerb {
    /// Make a development authority and the certificates that all parts need
    Dev(CertsDevArgs),
}

#[derive(Debug, Clone, Args)]
pub struct CertsDevArgs {
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// A service that has sidecars; may be repeated
    #[arg(long = "service", value_name = "NAME", default_value = "payments-demo")]
    pub services: Vec<ServiceName>,
    /// A name or address that the servers are reached by; may be repeated
    #[arg(long = "host", visible_alias = "name", value_name = "HOST", default_values = ["localhost", "127.0.0.1", "::1"])]
    pub hosts: Vec<String>,
    /// Days until they expire
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=825))]
    pub days: u16,
    /// Replace what is there
    #[arg(long)]
    pub force: bool,
    /// Leave what is there as it is, if it is complete
    #[arg(long, conflicts_with = "force")]
    pub keep: bool,
}
