//! The cases of keys and certificates through live sidecars, with real proofs and real handshakes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use breakglass::domain::WallTime;
use breakglass::token::dpop::{Making, ProofKey};

use super::live::check;
use super::{Case, Certificate, Proof, State, Words, cases, raw_request_of};
use crate::bindings::{KeyHolder, origin};
use crate::harness::clients::Shows;
use crate::harness::{Answer, Ask, Raw, SidecarFile, Site, TestSidecar};

/// A site with a grant bound to alice's key and one bound to her certificate.
struct Stage {
    site: Site,
    words: Words,
    holder: KeyHolder,
    other: ProofKey,
    dpop: breakglass::wire::api::GrantView,
}

impl Stage {
    async fn set() -> Self {
        let site = Site::start().await;
        let holder = KeyHolder::new();
        let key = holder.grant(&site, "contract/K-1").await;
        let certificate = crate::bindings::grant_by_certificate(&site, "contract/K-2", Shows::Own).await;
        let grant = site.grant(&Ask::default()).await;
        let bearer = Ask { tier: Some("pipeline"), resources: vec!["contract/B-7".to_owned()], ..Ask::default() };
        let bearer = site.grant(&bearer).await;
        let words = Words {
            grant_id: grant.id.to_string(),
            grant_token: site.token(&grant).await,
            foreign_token: String::new(),
            bearer_id: bearer.id.to_string(),
            bearer_token: site.token(&bearer).await,
            dpop_id: key.id.to_string(),
            dpop_token: site.token(&key).await,
            mtls_id: certificate.id.to_string(),
            mtls_token: site.token(&certificate).await,
            holder: site.identity("alice"),
            other: site.identity("bob"),
            unreachable: String::new(),
        };
        Self { site, words, holder, other: ProofKey::generate().unwrap(), dpop: key }
    }

    async fn sidecar(&self, case: &Case) -> TestSidecar {
        let origin = if case.proof == Proof::Unverifiable { "" } else { "public_origin = \"https://localhost\"\n" };
        let bindings = format!("{origin}identity_from_authorization = true");
        let file = SidecarFile { service: case.service_text(), bindings, ..SidecarFile::default() };
        let sidecar = self.site.sidecar_with(&file).await;
        sidecar.until_overrides().await;
        sidecar
    }

    /// Sends the case, with what it proves.
    async fn ask(&self, sidecar: &TestSidecar, case: &Case) -> Answer {
        let nonce = sidecar.shared().possession.nonce(sidecar.shared().clock.boot());
        let credential = case.own_headers(&self.words).into_iter().find(|(name, _)| name == "Break-Glass");
        // A proof names the token that came, and none where an id did.
        let token = credential.map(|(_, value)| value).filter(|value| value.contains('.'));
        let method = if case.proof == Proof::Invalid { "DELETE" } else { case.method.as_str() };
        let key = if case.proof == Proof::Other { &self.other } else { &self.holder.key };
        let url = origin().with_path(&case.target).unwrap();
        let nonce = (case.proof != Proof::NoNonce).then_some(nonce.as_str());
        let now: WallTime = self.site.clock.wall();
        let proof = key.prove(&Making { method, url: &url, token: token.as_deref(), nonce, now }).unwrap();
        let proof = (case.proof != Proof::None).then(|| ("Break-Glass-DPoP".to_owned(), proof));
        let request = raw_request_of(case, &self.words, proof.as_slice());
        if case.proof == Proof::Replayed {
            assert_eq!(self.send(sidecar, case, &request).await.code(), "override", "{}: the first time", case.name);
        }
        self.send(sidecar, case, &request).await
    }

    async fn send(&self, sidecar: &TestSidecar, case: &Case, request: &[u8]) -> Answer {
        let shows = match case.certificate {
            Certificate::None => None,
            Certificate::Holder => Some(Shows::Own),
            Certificate::Other => Some(Shows::SameName),
            Certificate::Untrusted => Some(Shows::OtherAuthority),
        };
        let folder = self.site.path();
        let files: Option<(PathBuf, PathBuf)> = shows.map(|shows| (shows.certificate(folder), shows.key(folder)));
        let own = files.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        let mut raw = Raw::open_showing(sidecar.address, &folder.join("ca.pem"), own).await;
        raw.write(request).await;
        raw.answer().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_sidecar_decides_each_case_of_keys_and_certificates_as_expected() {
    let stage = Stage::set().await;
    let mut sidecars = BTreeMap::new();
    let mut wrong = Vec::new();
    let (ended, standing): (Vec<_>, Vec<_>) =
        cases().into_iter().filter(Case::is_bound).partition(|case| !case.state.is_empty());
    for case in standing {
        let place = (case.service.clone(), case.proof == Proof::Unverifiable);
        if !sidecars.contains_key(&place) {
            sidecars.insert(place.clone(), stage.sidecar(&case).await);
        }
        let answer = stage.ask(&sidecars[&place], &case).await;
        check(&mut wrong, &case, &answer);
    }
    stage.site.revoke(&stage.dpop).await;
    for case in ended {
        assert_eq!(case.state.iter().collect::<Vec<_>>(), [&State::Revoked], "{}: another state", case.name);
        let answer = stage.ask(&sidecars[&(case.service.clone(), false)], &case).await;
        check(&mut wrong, &case, &answer);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
