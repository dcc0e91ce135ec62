//! `breakglass audit`: a sidecar's log, and the control plane's ledger; and `breakglass witness`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::domain::GrantId;
use crate::ledger::note::{KeyName, VerifierKey};

#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    pub what: AuditVerb,
}

#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// Check that audit logs, or a ledger, are whole and unchanged
    Verify {
        /// Folders of a sidecar's audit log, or single segments; or a ledger: its URL, or a folder that holds a copy of it
        #[arg(required = true, value_name = "PATH|URL")]
        paths: Vec<PathBuf>,
        /// Ask only for what stands after the last loss that an operator accepted
        #[arg(long)]
        since_accepted: bool,
        #[command(flatten)]
        trust: TrustArgs,
        /// A checkpoint that was seen before: the ledger must begin with its tree; may be repeated
        #[arg(long, value_name = "FILE")]
        known: Vec<PathBuf>,
        /// Keep a copy of the ledger in this folder; it verifies as the ledger does
        #[arg(long, value_name = "DIR")]
        copy_to: Option<PathBuf>,
    },
    /// Prove that an entry is in the ledger, as a file that verifies without us (c2sp.org/tlog-proof)
    Prove {
        /// The entry's index
        #[arg(value_name = "ENTRY")]
        entry: u64,
        /// The ledger: its URL, or a folder that holds a copy of it
        #[arg(long, value_name = "PATH|URL")]
        log: PathBuf,
        #[command(flatten)]
        trust: TrustArgs,
        /// The file to write; otherwise standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check proofs, and show the entries that they prove
    CheckProof {
        /// Files, or folders whose .tlog-proof files are all checked
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        trust: TrustArgs,
    },
    /// Write every entry about a grant, each with its proof, after the whole ledger was verified
    Export {
        /// The grant
        #[arg(long, value_name = "ID")]
        grant: GrantId,
        /// The ledger: its URL, or a folder that holds a copy of it
        #[arg(long, value_name = "PATH|URL")]
        log: PathBuf,
        #[command(flatten)]
        trust: TrustArgs,
        /// Folder to write to; must not exist
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Write the personal values behind the entries, too, as far as you may see them: names, tickets, notes and whole lines
        #[arg(long)]
        personal: bool,
    },
}

/// Whose signatures are believed.
#[derive(Debug, Clone, Default, Args)]
pub struct TrustArgs {
    /// Verifier key of the ledger, as `GET /v1/keys` and the control plane's log tell it; may be repeated
    #[arg(long = "key", value_name = "VKEY")]
    pub keys: Vec<VerifierKey>,
    /// Verifier key of a witness that must have cosigned; may be repeated
    #[arg(long = "witness", value_name = "VKEY")]
    pub witnesses: Vec<VerifierKey>,
}

#[derive(Debug, Args)]
pub struct WitnessArgs {
    /// Where to listen, in the clear: put a proxy that ends TLS before it
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,
    /// Folder of the witness's key and of what it cosigned; made on first start
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// The witness's own name, such as witness.example/w1
    #[arg(long, value_name = "NAME")]
    pub name: KeyName,
    /// Verifier key of a log to cosign; may be repeated
    #[arg(long = "log", value_name = "VKEY", required = true)]
    pub logs: Vec<VerifierKey>,
}
