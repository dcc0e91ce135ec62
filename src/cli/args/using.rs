//! Flags of the verbs that use a live grant: `env` and `proxy`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use http::Uri;

use crate::domain::{Action, GrantId, Resource, ServiceName};

/// Which live grant of the caller's.
#[derive(Debug, Clone, Default, Args)]
pub struct Which {
    /// The grant; default: the one live grant of yours that fits
    #[arg(value_name = "GRANT")]
    pub id: Option<GrantId>,
    /// Only one of this service
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    pub service: Option<ServiceName>,
    /// Only one for this resource, such as contract/C-1042
    #[arg(long, value_name = "TYPE/ID", conflicts_with = "id")]
    pub resource: Option<Resource>,
    /// Only one for this action, such as payment.release
    #[arg(long, value_name = "VERB", conflicts_with = "id")]
    pub action: Option<Action>,
}

#[derive(Debug, Args)]
pub struct EnvArgs {
    #[command(flatten)]
    pub which: Which,
    /// Whose syntax; default: that of $SHELL
    #[arg(long, value_enum)]
    pub shell: Option<Shell>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// POSIX: sh, bash, zsh, ksh
    Sh,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
}

#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// The grant that every request uses
    #[arg(value_name = "GRANT")]
    pub id: GrantId,
    /// Where requests go: the address of the service, such as `https://payments.example`
    #[arg(long, value_name = "URL")]
    pub to: Uri,
    /// Trust the certificate authorities in this PEM file for the service; default: as --ca
    #[arg(long, value_name = "FILE")]
    pub to_ca: Option<PathBuf>,
    /// Listen on this Unix socket; default: one in a new folder. Its folder must be yours alone
    #[cfg(unix)]
    #[arg(long, value_name = "PATH", conflicts_with = "tcp")]
    pub socket: Option<PathBuf>,
    /// Listen on 127.0.0.1 instead, behind a secret of this run; without a port, any
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "0")]
    pub tcp: Option<u16>,
}
