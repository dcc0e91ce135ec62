//! `keys init`, `keys list`, `keys rotate` and `keys retire`: what an operator does with the private keys, beside a running
//! control plane or before there is one.
//!
//! stdout is data: the public roots to pin, the key that was made, the table.

use std::io::{self, Write as _};
use std::path::Path;

use breakglass::clock::Clock;
use breakglass::config::ConfigError;
use breakglass::config::control::ControlConfig;
use breakglass::control::keys::KeysError;
use breakglass::control::keys::ledger;
use breakglass::control::keys::operate::{self, KeyState, Listed, Made};
use breakglass::domain::WallTime;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make the root key, where there is none, and the first grant key; prints the public root, which sidecars pin
    Init,
    /// Show every key: purpose, id, state, validity, place
    List,
    /// Make and certify the next grant key; it begins to sign after keys.activation_delay_s
    Rotate {
        /// Let it sign at once. Replicas and sidecars that do not have it yet will refuse its grants
        #[arg(long)]
        now: bool,
        /// Make the next key of the ledger's checkpoints instead; it signs at once, beside the one before
        #[arg(long, conflicts_with = "now")]
        ledger: bool,
    },
    /// Remove a grant key: the grants it signed end at every sidecar
    Retire {
        /// The key's id, as `keys list` shows it
        // One in 64 begins with a hyphen.
        #[arg(value_name = "KID", allow_hyphen_values = true)]
        kid: String,
        /// Yes, end its grants
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysFailure {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("nothing was removed: {0}; say --yes to remove it")]
    Unconfirmed(String),
}

impl KeysFailure {
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Unconfirmed(_))
    }
}

pub(crate) async fn run(file: &Path, command: KeysCommand) -> Result<(), KeysFailure> {
    let config = ControlConfig::load(file)?;
    let now = Clock::System.wall();
    match command {
        KeysCommand::Init => {
            let made = operate::init(&config.keys, config.key_validity, now).await?;
            for root in &made.roots {
                writeln!(io::stdout(), "{root}")?;
            }
            told(&made)
        }
        KeysCommand::List => table(&operate::list(&config.keys, now).await?),
        KeysCommand::Rotate { ledger: true, .. } => {
            let key = ledger::rotate(&config.keys).await?;
            writeln!(io::stdout(), "{}", key.kid())?;
            Ok(writeln!(io::stderr(), "ledger key {}: signs as soon as each control plane has noticed", key.kid())?)
        }
        KeysCommand::Rotate { now: at_once, .. } => {
            let made = operate::rotate(&config.keys, config.key_validity, at_once, now).await?;
            writeln!(io::stdout(), "{}", made.kid)?;
            told(&made)
        }
        KeysCommand::Retire { kid, yes } => retire(&config, &kid, yes, now).await,
    }
}

fn told(made: &Made) -> Result<(), KeysFailure> {
    let Made { kid, place, begins, ends, .. } = made;
    let (begins, ends) = (begins.rfc3339(), ends.rfc3339());
    Ok(writeln!(io::stderr(), "grant key {kid} in {place}: signs from {begins}, ends {ends}")?)
}

async fn retire(config: &ControlConfig, kid: &str, yes: bool, now: WallTime) -> Result<(), KeysFailure> {
    if !yes {
        let listed = operate::list(&config.keys, now).await?;
        let known = listed.iter().find(|key| key.kid == kid && key.state != KeyState::Certifies);
        let key = known.ok_or_else(|| KeysError::Unknown { kid: kid.to_owned() })?;
        let others = listed.iter().any(|other| other.kid != kid && other.state == KeyState::Holds);
        let then = match key.state {
            KeyState::Signs if others => ", and an older key signs again",
            KeyState::Signs => ", and no key is left that signs: run `breakglass-control keys rotate --now` first",
            _ => "",
        };
        return Err(KeysFailure::Unconfirmed(format!(
            "the key {kid} ({}) and the grants it signed end{then}",
            key.state
        )));
    }
    operate::retire(&config.keys, kid).await?;
    Ok(writeln!(io::stderr(), "grant key {kid} was removed; each control plane that runs notices within seconds")?)
}

fn table(keys: &[Listed]) -> Result<(), KeysFailure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{:<7} {:<43} {:<10} {:<24} {:<24} place", "purpose", "kid", "state", "begins", "ends")?;
    for key in keys {
        let (begins, ends) = key.validity.map_or(("-".to_owned(), "-".to_owned()), |(b, e)| (b.rfc3339(), e.rfc3339()));
        let (purpose, state) = (key.purpose.as_str(), key.state.to_string());
        writeln!(out, "{purpose:<7} {:<43} {state:<10} {begins:<24} {ends:<24} {}", key.kid, key.place)?;
    }
    Ok(())
}
