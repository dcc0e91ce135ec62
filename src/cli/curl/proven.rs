//! The override itself, with what the grant's binding wants: headers, a client certificate, or a proof of the person's own
//! key.
//!
//! With a proof, curl may run twice: where no nonce is kept from an earlier call, or the one that is has grown old, the
//! sidecar refuses the first, before it forwards anything, and the second has the right one (RFC 9449 §9). There is no third.

use std::ffi::OsString;

use super::exec::{First, Workshop};
use super::head::Head;
use super::nonces::NoncePlace;
use super::plan::Plan;
use super::{show, shown_url};
use crate::cli::args::Global;
use crate::cli::credential::{self, Credential};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::session::Lookup;
use crate::clock::Clock;
use crate::proxy::{Prover, wants_nonce};
use crate::secret::Secret;
use crate::wire::own_headers::DPOP_NONCE;

/// Sends it; curl's exit code.
///
/// # Errors
/// When curl can't be run, or no proof can be made.
pub(super) async fn send(
    workshop: Workshop,
    (arguments, plan): (&[OsString], &Plan),
    credential: &Credential,
    (global, env): (&Global, Lookup<'_>),
    out: &mut Output,
) -> Result<u8, Failure> {
    let options = match credential {
        Credential::Identity { named, identity } => {
            workshop.override_options(&credential::lines(named, Some(identity)))?
        }
        Credential::Certificate { named } => {
            let mut options = workshop.override_options(&credential::lines(named, None))?;
            options.extend(certificate(plan, global));
            options
        }
        Credential::Key { token, prover } => {
            let key = Key { token, prover, place: NoncePlace::of(&called(plan), env) };
            return key.send(workshop, (arguments, plan), out).await;
        }
    };
    workshop.last(arguments, plan, &options).await
}

/// The configured certificate, where curl was not given one. A path is no secret.
fn certificate(plan: &Plan, global: &Global) -> Vec<OsString> {
    match (&global.client_cert, &global.client_key) {
        (Some(certificate), Some(key)) if !plan.certified => {
            vec!["--cert".into(), certificate.into(), "--key".into(), key.into()]
        }
        _ => Vec::new(),
    }
}

struct Key<'a> {
    token: &'a Secret<String>,
    prover: &'a Prover,
    /// Of the nonce that the next call begins with.
    place: NoncePlace,
}

impl Key<'_> {
    async fn send(
        &self,
        workshop: Workshop,
        (arguments, plan): (&[OsString], &Plan),
        out: &mut Output,
    ) -> Result<u8, Failure> {
        if let Some(kept) = self.place.recall(Clock::System.wall()) {
            self.prover.remember(kept);
        }
        let options = workshop.override_options(&self.lines(plan)?)?;
        let answer = workshop.watched(arguments, plan, (&options, lacks_nonce), out).await?;
        let told = answer.head.as_ref().and_then(nonce);
        if let Some(newest) = &told {
            self.place.keep(newest, Clock::System.wall());
        }
        let Some(nonce) = told.filter(|_| answer.head.as_ref().is_some_and(lacks_nonce)) else {
            return finish(&answer, out);
        };
        self.prover.remember(nonce);
        let options = workshop.override_options(&self.lines(plan)?)?;
        workshop.last(arguments, plan, &options).await
    }

    fn lines(&self, plan: &Plan) -> Result<String, Failure> {
        let unproven = |why: &str| {
            let hint = "use the plain https address of the service";
            Failure::new(Exit::Refused, format!("no proof of your key can be made: {why}"), hint)
        };
        if plan.retargeted {
            return Err(unproven("--request-target asks for another address than the URL's"));
        }
        let proof =
            self.prover.prove(self.token, &plan.method, &called(plan)).map_err(|error| unproven(&error.to_string()))?;
        Ok(format!("{}Break-Glass-DPoP: {proof}\n", credential::lines(self.token, None)))
    }
}

/// The address as it is called, without a password.
fn called(plan: &Plan) -> String {
    let url = shown_url(&plan.url);
    if url.contains("://") { url } else { format!("http://{url}") }
}

fn finish(answer: &First, out: &mut Output) -> Result<u8, Failure> {
    show(answer, out)?;
    Ok(answer.code)
}

fn lacks_nonce(head: &Head) -> bool {
    head.status == 401 && nonce(head).is_some() && head.all("www-authenticate").any(wants_nonce)
}

fn nonce(head: &Head) -> Option<String> {
    let mut nonces = head.all(DPOP_NONCE);
    nonces.next().filter(|_| nonces.next().is_none()).map(str::to_owned)
}
