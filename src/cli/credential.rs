//! What a grant's binding wants to see, from what the caller has: an access token, a client certificate, or their own key.

use super::api::Api;
use super::args::Global;
use super::failure::{Exit, Failure};
use super::own_key::OwnKey;
use super::session::{self, Lookup};
use crate::clock::Clock;
use crate::domain::{Binding, Confirmation};
use crate::http::ClientIdentity;
use crate::proxy::Prover;
use crate::secret::Secret;
use crate::token::dpop::certificate_thumbprint;
use crate::wire::api::GrantView;

/// What proves one grant. Nothing of it stands in arguments or traces.
#[derive(Debug)]
pub(super) enum Credential {
    /// The grant's id, or its token where the grant is bound to that, and the person's access token.
    Identity { named: Secret<String>, identity: Secret<String> },
    /// The grant's id, over a connection with the client certificate.
    Certificate { named: Secret<String> },
    /// The grant token, with a proof for each request.
    Key { token: Secret<String>, prover: Prover },
}

/// # Errors
/// When the caller lacks what the binding wants.
pub(super) async fn of(
    api: &Api,
    grant: &GrantView,
    (global, env): (&Global, Lookup<'_>),
) -> Result<Credential, Failure> {
    if grant.is_unclaimed() {
        let message = format!("{} is bound to nothing yet, so that nobody can use it", grant.id);
        return Err(Failure::new(Exit::Refused, message, format!("bind it: breakglass claim {}", grant.id)));
    }
    let id = || Secret::new(grant.id.to_string());
    match grant.binding {
        Binding::Identity => Ok(Credential::Identity {
            named: id(),
            identity: session::identity_token(api, (global, env), &grant.service).await?,
        }),
        Binding::Bearer => {
            let named = Secret::new(api.grant_token(&grant.id).await?.token);
            Ok(Credential::Identity {
                named,
                identity: session::identity_token(api, (global, env), &grant.service).await?,
            })
        }
        Binding::Mtls => Ok(Credential::Certificate { named: id() }),
        Binding::Dpop => {
            let key = OwnKey::find(global, env).load_or_make()?;
            if !is_bound_to(grant, key.thumbprint().as_str()) {
                let message = format!("{} is bound to another key than yours", grant.id);
                return Err(Failure::new(
                    Exit::Refused,
                    message,
                    "use the machine or the --dpop-key it was bound with",
                ));
            }
            let token = Secret::new(api.grant_token(&grant.id).await?.token);
            Ok(Credential::Key { token, prover: Prover::new(key, Clock::System) })
        }
    }
}

/// The client certificate that a grant with the binding `mtls` is used with.
///
/// # Errors
/// When there is none, or it is another than the one the grant is bound to.
pub(super) fn certificate(grant: &GrantView, global: &Global) -> Result<ClientIdentity, Failure> {
    let hint = "name it with --client-cert and --client-key";
    let missing =
        || Failure::new(Exit::NotAuthenticated, format!("{} is proven by a client certificate", grant.id), hint);
    let identity = session::client_identity(global)?.ok_or_else(missing)?;
    let own = identity.certificate().and_then(|certificate| certificate_thumbprint(certificate));
    let is_bound = own.is_some_and(|own| is_bound_to(grant, own.as_str()));
    if is_bound {
        Ok(identity)
    } else {
        let message = format!("{} is bound to another client certificate than yours", grant.id);
        Err(Failure::new(Exit::Refused, message, hint))
    }
}

/// Whether the caller can prove the grant; `certified`: a client certificate is named elsewhere.
pub(super) fn can_prove(grant: &GrantView, certified: bool, global: &Global, env: Lookup<'_>) -> bool {
    match grant.binding {
        Binding::Identity | Binding::Bearer => true,
        Binding::Mtls => !grant.is_unclaimed() && (certified || certificate(grant, global).is_ok()),
        Binding::Dpop => {
            let key = OwnKey::find(global, env).load_or_make();
            key.is_ok_and(|key| is_bound_to(grant, key.thumbprint().as_str()))
        }
    }
}

fn is_bound_to(grant: &GrantView, thumbprint: &str) -> bool {
    grant.confirmation.as_ref().map(Confirmation::thumbprint) == Some(thumbprint)
}

/// Our headers as curl reads them from a file.
pub(super) fn lines(named: &Secret<String>, identity: Option<&Secret<String>>) -> String {
    let identity = identity.map(|token| format!("Break-Glass-Identity: {}\n", token.expose())).unwrap_or_default();
    format!("Break-Glass: {}\n{identity}", named.expose())
}
