//! The control plane's own file: where it listens, whom it believes, where it keeps what it knows.
//!
//! Loading it loads the policy and the service files too, so that one run reports every mistake of all of them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::database::DatabaseConfig;
use super::identity::{is_http_url, read_issuers};
use super::introspection::{IntrospectionConfig, read_introspection};
use super::keys::{KeysConfig, read_keys};
use super::ledger::{LedgerConfig, read_ledger};
use super::limits::{ApiLimits, read_limits};
use super::mistakes::{ConfigError, Mistake};
use super::policy::PolicyConfig;
use super::reader::{self, Section};
use super::retention::{RetentionConfig, read_retention};
use super::scim::{ScimConfig, read_scim};
use super::service::ServiceConfig;
use super::sign_in::read_sign_in;
use super::signals::{SignalsConfig, read_signals};
use super::sinks::{SinkConfig, read_sinks};
use crate::domain::{Audience, InstanceName, Issuer};
use crate::identity::IssuerConfig;
use crate::token::dpop::ProofUrl;
use crate::wire::sign_in::SignInTerms;

const ADMIN_PORT: u16 = 9902;
/// Shortest and longest validity of a grant key.
const KEY_VALIDITY_S: std::ops::RangeInclusive<u64> = 7 * 86_400..=366 * 86_400;
/// Shortest and longest validity of a sidecar's assertion key.
const ASSERTION_KEY_VALIDITY_S: std::ops::RangeInclusive<u64> = 600..=30 * 86_400;

/// The control plane's configuration, checked.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// `iss` of grant tokens: the control plane's public URL.
    pub issuer: Issuer,
    /// The same, as what a DPoP proof to the API is for.
    pub public_url: ProofUrl,
    /// This process among those that share a database.
    pub instance: InstanceName,
    pub database: DatabaseConfig,
    pub keys: KeysConfig,
    pub ledger: LedgerConfig,
    /// Folder of the tokens, private addresses and authorities that the policy's schedules name.
    pub credentials: Option<PathBuf>,
    /// How long a grant key may sign. A new one is made when a third of it is left.
    pub key_validity: Duration,
    /// How long a sidecar's assertion key is certified for. It asks for another when a third of it is left.
    pub assertion_key_validity: Duration,
    pub api: TlsListener,
    /// Whose client certificates on the API's listener can be bound to grants. Absent: no client is asked for one.
    pub api_client_ca: Option<PathBuf>,
    pub limits: ApiLimits,
    pub feed: FeedListener,
    pub admin: SocketAddr,
    pub issuers: Vec<IssuerConfig>,
    /// Those of them that are asked whether tokens still stand.
    pub introspection: Vec<IntrospectionConfig>,
    /// How the command line signs people in, where the file says it.
    pub sign_in: Option<SignInTerms>,
    /// Who tells of people between two tokens.
    pub signals: Vec<SignalsConfig>,
    /// Who keeps people and groups here.
    pub scim: Vec<ScimConfig>,
    pub groups: AccessGroups,
    /// Where entries are handed on to.
    pub sinks: Vec<SinkConfig>,
    /// For how long what is personal is kept; absent: for ever.
    pub retention: Option<RetentionConfig>,
    pub policy: SourceFile<PolicyConfig>,
    pub services: Vec<SourceFile<ServiceConfig>>,
}

/// A listener that ends TLS itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsListener {
    pub address: SocketAddr,
    /// PEM, leaf first.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The feed's listener: every client shows a certificate of `client_ca`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedListener {
    pub tls: TlsListener,
    pub client_ca: PathBuf,
}

/// Groups with rights beyond one's own requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessGroups {
    /// See everything, revoke everything, freeze and lift.
    pub admins: BTreeSet<String>,
    /// See everything.
    pub auditors: BTreeSet<String>,
    /// Revoke everything, and freeze.
    pub revokers: BTreeSet<String>,
    /// Freeze: stop a service, or all. Not lift: that is for admins.
    pub freezers: BTreeSet<String>,
    /// Review everything but their own.
    pub reviewers: BTreeSet<String>,
}

/// A checked file with the text it came from: the text is what the database keeps.
#[derive(Debug, Clone)]
pub struct SourceFile<T> {
    pub path: PathBuf,
    pub text: String,
    pub checked: T,
}

impl ControlConfig {
    /// Reads and checks the file, and the policy and service files it names.
    ///
    /// # Errors
    /// Every mistake of all the files, with its place.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = reader::read_file(file)?;
        let mut elsewhere = Vec::new();
        let own = reader::parse(file, &text, |root| Some(read(root, file, &mut elsewhere)));
        match own {
            Ok(Some(config)) if elsewhere.is_empty() => Ok(config),
            Ok(_) if elsewhere.is_empty() => Err(ConfigError::one(Mistake::of_file(file, "could not be understood"))),
            Ok(_) => Err(ConfigError { mistakes: elsewhere }),
            Err(mut error) => {
                error.mistakes.append(&mut elsewhere);
                Err(error)
            }
        }
    }
}

/// Mistakes in this file are noted by its sections, those of other files go to `elsewhere`.
fn read(root: &Section<'_>, file: &Path, elsewhere: &mut Vec<Mistake>) -> Option<ControlConfig> {
    let issuer: Option<Issuer> = root.required("url");
    if issuer.as_ref().is_some_and(|url| !is_http_url(url.as_str())) {
        root.mistake("url", "must begin with https:// or http://", None);
    }
    let public_url = issuer.as_ref().and_then(|url| url.as_str().parse::<ProofUrl>().ok());
    if issuer.is_some() && public_url.is_none() {
        root.mistake("url", "must be the address that clients call, without a user name", None);
    }
    let instance = read_instance(root);
    let database = DatabaseConfig::read(root);
    let keys = read_keys(root, matches!(database, Some(DatabaseConfig::Postgres(_))));
    let ledger = read_ledger(root.section("ledger").as_ref(), issuer.as_ref(), database.as_ref());
    let credentials = root.path("credentials");
    let validity_s = root.integer("key_validity_s", KEY_VALIDITY_S, 90 * 86_400);
    let assertion_validity_s = root.integer("assertion_key_validity_s", ASSERTION_KEY_VALIDITY_S, 86_400);
    let api = root.required_section("api").and_then(|section| {
        let limits = read_limits(section.section("limits").as_ref());
        let client_ca = section.path("client_ca");
        Some((read_listener(&section)?, client_ca, limits))
    });
    let feed = root.required_section("feed").and_then(|section| {
        let (tls, client_ca) = (read_listener(&section), section.required_path("client_ca"));
        Some(FeedListener { tls: tls?, client_ca: client_ca? })
    });
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT));
    let admin = root.section("admin").and_then(|section| section.optional("address")).unwrap_or(loopback);
    let audience: Option<Audience> = root.required("audience");
    let issuers = read_issuers(root, audience.as_ref());
    let introspection = read_introspection(root, &issuers);
    let signals = read_signals(root, &issuers);
    let scim = read_scim(root, &issuers);
    let groups = root.section("groups").map(|section| read_groups(&section)).unwrap_or_default();
    let sinks = read_sinks(root, &[]);
    let retention = read_retention(root);
    let services = read_services(root, file, elsewhere);
    keep_audiences_apart(root, &issuers, &services);
    let known: Vec<ServiceConfig> = services.iter().map(|service| service.checked.clone()).collect();
    let sign_in = read_sign_in(root, &issuers, &known);
    let policy = root.required_path("policy").and_then(|path| read_policy(path, &known, elsewhere));
    let (api, api_client_ca, limits) = api?;
    Some(ControlConfig {
        issuer: issuer?,
        public_url: public_url?,
        instance: instance?,
        database: database?,
        keys: keys?,
        ledger: ledger?,
        credentials,
        key_validity: Duration::from_secs(validity_s),
        assertion_key_validity: Duration::from_secs(assertion_validity_s),
        api,
        api_client_ca,
        limits,
        feed: feed?,
        admin,
        issuers,
        introspection,
        sign_in,
        signals,
        scim,
        groups,
        sinks,
        retention,
        policy: policy?,
        services,
    })
}

/// `instance`; absent, the machine's name where it can be one.
fn read_instance(root: &Section<'_>) -> Option<InstanceName> {
    if root.has("instance") {
        return root.optional("instance");
    }
    let host = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let first_label = host.split('.').next().unwrap_or_default();
    first_label.parse().ok().or_else(|| "control".parse().ok())
}

fn read_listener(section: &Section<'_>) -> Option<TlsListener> {
    let address = section.required("address");
    let (certificate, key) = (section.required_path("certificate"), section.required_path("key"));
    Some(TlsListener { address: address?, certificate: certificate?, key: key? })
}

fn read_groups(section: &Section<'_>) -> AccessGroups {
    let group = |key| section.list(key).into_iter().collect();
    AccessGroups {
        admins: group("admins"),
        auditors: group("auditors"),
        revokers: group("revokers"),
        freezers: group("freezers"),
        reviewers: group("reviewers"),
    }
}

/// A contract API sees the tokens for its own audience; with one of them nobody may call the control plane.
fn keep_audiences_apart(root: &Section<'_>, issuers: &[IssuerConfig], services: &[SourceFile<ServiceConfig>]) {
    let names = || services.iter().map(|service| service.checked.name.as_str());
    if let Some(issuer) = issuers.iter().find(|issuer| names().any(|name| name == issuer.audience.as_str())) {
        let what = format_args!("{} is a service: its API sees such tokens, which must not open this", issuer.audience);
        root.mistake("audience", what, Some("take an audience that is the control plane's alone"));
    }
}

fn read_services(root: &Section<'_>, file: &Path, elsewhere: &mut Vec<Mistake>) -> Vec<SourceFile<ServiceConfig>> {
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let mut services: Vec<SourceFile<ServiceConfig>> = Vec::new();
    for path in root.required_list::<PathBuf>("services") {
        let path = folder.join(path);
        let text = reader::read_file(&path);
        let loaded = text.and_then(|text| {
            let checked = ServiceConfig::parse(&path, &text)?;
            Ok(SourceFile { path, text, checked })
        });
        match loaded {
            Ok(service) => {
                if let Some(twin) = services.iter().find(|known| known.checked.name == service.checked.name) {
                    let what = format!("the service \"{}\" is also in {}", twin.checked.name, twin.path.display());
                    elsewhere.push(Mistake::of_file(&service.path, what));
                }
                services.push(service);
            }
            Err(error) => elsewhere.extend(error.mistakes),
        }
    }
    services
}

fn read_policy(
    path: PathBuf,
    services: &[ServiceConfig],
    elsewhere: &mut Vec<Mistake>,
) -> Option<SourceFile<PolicyConfig>> {
    let loaded = reader::read_file(&path).and_then(|text| {
        let checked = PolicyConfig::parse(&path, &text, services)?;
        Ok(SourceFile { path, text, checked })
    });
    loaded.map_err(|error| elsewhere.extend(error.mistakes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_stands() {
        let config = ControlConfig::load(Path::new("config/control.toml")).unwrap();
        assert_eq!(config.services.len(), 1);
        assert!(config.admin.ip().is_loopback());
        assert_eq!(config.issuers.len(), 1);
    }

    #[test]
    fn a_services_tokens_do_not_open_the_control_plane() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("services")).unwrap();
        for file in ["policy.toml", "services/payments-demo.toml"] {
            std::fs::copy(Path::new("config").join(file), folder.path().join(file)).unwrap();
        }
        let example = std::fs::read_to_string("config/control.toml").unwrap();
        let changed = example.replace("audience = \"breakglass-control\"\n", "audience = \"payments-demo\"\n");
        std::fs::write(folder.path().join("control.toml"), changed).unwrap();
        let report = ControlConfig::load(&folder.path().join("control.toml")).unwrap_err().to_string();
        assert!(report.contains("audience: payments-demo is a service"), "{report}");
    }

    #[test]
    fn mistakes_of_all_files_come_together() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("service.toml", "name = \"s\"\n");
        write("policy.toml", "[organisation]\n");
        write(
            "control.toml",
            "url = \"ftp://x\"\ndatabase = \"db\"\nkeys = \"keys\"\naudience = \"control\"\npolicy = \"policy.toml\"\n\
             services = [\"service.toml\", \"missing.toml\"]\napi = { address = \"nowhere\", certificate = \"c\" }\n",
        );
        let report = ControlConfig::load(&folder.path().join("control.toml")).unwrap_err().to_string();
        for wanted in [
            "control.toml:1:7: url: must begin with https:// or http://",
            "control.toml:7:19: api.address: invalid socket address syntax",
            "control.toml:7:7: api.key: is missing",
            "feed: this table is missing",
            "issuer: there must be at least one (add an [[issuer]] table)",
            "service.toml:",
            "missing.toml: can't be read",
            "policy.toml:1:1: tier: there must be at least one",
        ] {
            assert!(report.contains(wanted), "{wanted:?} is not in\n{report}");
        }
    }
}
