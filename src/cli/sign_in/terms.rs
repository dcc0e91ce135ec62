//! Where to sign in, as which client, for whom: as the control plane tells anyone, with flags in its place.

use http::{HeaderMap, Method, Uri};

use crate::cli::failure::{Exit, Failure};
use crate::domain::Issuer;
use crate::error_chain::error_chain;
use crate::http::{Answer, Client};
use crate::wire::sign_in::{Indicator, SignInTerms, SignInView};

/// Flags that come before what the control plane says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cli) struct Overrides {
    pub(in crate::cli) issuer: Option<Issuer>,
    pub(in crate::cli) client_id: Option<String>,
    /// Empty: as the control plane says.
    pub(in crate::cli) scopes: Vec<String>,
}

/// What the control plane says; `None` where its file does not say how to sign in.
///
/// # Errors
/// When it cannot be asked.
pub(super) async fn told(client: &Client, control: &Uri) -> Result<Option<SignInTerms>, Failure> {
    let text = format!("{}/v1/sign-in", control.to_string().trim_end_matches('/'));
    let unreachable = |why: String| {
        let hint = "check --control and --ca, and whether the control plane is up";
        Failure::new(
            Exit::Unreachable,
            format!("the control plane at {control} does not say how to sign in: {why}"),
            hint,
        )
    };
    let url: Uri = text.parse().map_err(|_| unreachable("it is no URL".to_owned()))?;
    let answer = client.send(Method::GET, &url, HeaderMap::new(), bytes::Bytes::new()).await;
    let view = answer.and_then(Answer::successful).and_then(|answer| answer.json::<SignInView>());
    view.map(|view| view.terms).map_err(|error| unreachable(error_chain(&error)))
}

/// # Errors
/// When neither the control plane nor the flags say enough.
pub(super) async fn resolve(client: &Client, control: &Uri, flags: &Overrides) -> Result<SignInTerms, Failure> {
    let told = told(client, control).await?;
    combined(told, control, flags).ok_or_else(|| {
        Failure::new(
            Exit::NotAuthenticated,
            format!("the control plane at {control} does not say how to sign in"),
            "its configuration has a [sign_in] table for that; or name --issuer and --client-id, or use BREAKGLASS_TOKEN",
        )
    })
}

fn combined(told: Option<SignInTerms>, control: &Uri, flags: &Overrides) -> Option<SignInTerms> {
    let mut terms = match told {
        Some(terms) => terms,
        None => SignInTerms {
            issuer: flags.issuer.clone()?,
            client_id: flags.client_id.clone()?,
            scopes: vec!["openid".to_owned(), "offline_access".to_owned()],
            indicator: Indicator::Absent,
            audience: control.to_string().parse().ok()?,
            services: Vec::new(),
        },
    };
    terms.issuer = flags.issuer.clone().unwrap_or(terms.issuer);
    terms.client_id = flags.client_id.clone().unwrap_or(terms.client_id);
    if !flags.scopes.is_empty() {
        terms.scopes.clone_from(&flags.scopes);
    }
    Some(terms)
}
