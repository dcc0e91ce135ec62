//! What can be typed to sign in. No flag takes a secret: a public client has none, and a person types theirs at the issuer.

use std::time::Duration;

use clap::Args;

use super::parse_span;
use crate::domain::{Issuer, ServiceName};

#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Show a code to enter in a browser anywhere
    #[arg(long, conflicts_with = "browser")]
    pub device: bool,
    /// Use the browser of this machine
    #[arg(long)]
    pub browser: bool,
    /// Sign in at least this strongly (an authentication context class); repeated: one of them
    #[arg(long = "acr", value_name = "CLASS", value_parser = parse_acr)]
    pub acr: Vec<String>,
    /// Sign in anew unless it was done within this time, such as 5m
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub max_age: Option<Duration>,
    /// Sign in at this issuer instead of the one that the control plane names
    #[arg(long, value_name = "URL")]
    pub issuer: Option<Issuer>,
    /// The client's id there
    #[arg(long, value_name = "ID", value_parser = parse_word)]
    pub client_id: Option<String>,
    /// Ask for these scopes instead; may be repeated
    #[arg(long = "scope", value_name = "SCOPE", value_parser = parse_word)]
    pub scopes: Vec<String>,
}

#[derive(Debug, Args)]
pub struct TokenArgs {
    /// For this contract API instead of the control plane
    #[arg(long, value_name = "NAME")]
    pub service: Option<ServiceName>,
}

fn parse_acr(text: &str) -> Result<String, String> {
    parse_word(text).map_err(|_| format!("'{text}' is no context class: visible ASCII without spaces"))
}

fn parse_word(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(text.to_owned()) } else { Err(format!("'{text}' is not one word of visible ASCII")) }
}
