//! The files of a site: certificates, policy, services, the configuration of both planes. They are read as an
//! operator's would be.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use breakglass::certs::{DevAuthority, Leaf};

use super::Site;

/// The service as both planes know it.
pub(crate) const SERVICE: &str = include_str!("../../cases/services/open.toml");

const POLICY: &str = r#"
[organisation]
lifetime_max_s = 3600
staleness_max_s = 3

[[reason]]
code = "stuck_payment"
text = "A payment is stuck"

[[ticket]]
tracker = "incidents"
pattern = "INC-[0-9]{1,9}"
example = "INC-2041"

[[tier]]
name = "on-call"
groups = ["payments-oncall"]
services = ["payments", "ledger"]
role = "payments.override"
resources = ["contract/*"]
actions = ["payment.release", "payment.cancel", "statement.read", "limit.raise"]
default_s = 900
maximum_s = 3600
approvals = 0
binding = "identity"
staleness_max_s = 3
review_due_s = 86400

[[tier]]
name = "pipeline"
groups = ["payments-oncall"]
services = ["payments"]
role = "payments.override"
resources = ["contract/B-7"]
actions = ["payment.release"]
default_s = 900
maximum_s = 3600
approvals = 0
binding = "bearer"
staleness_max_s = 3
review_due_s = 86400

[[schedule]]
name = "payments-primary"
source = "icalendar"
url = "http://127.0.0.1:1/nobody-listens.ics"
"#;

/// What can be said of one sidecar's files; the rest is the same for all.
#[derive(Debug, Clone)]
pub(crate) struct SidecarFile {
    /// The text of its service file.
    pub(crate) service: String,
    /// `http://…` or `unix:…`; absent: the demo's contract API.
    pub(crate) upstream: Option<String>,
    /// Absent: a folder of its own.
    pub(crate) audit: Option<PathBuf>,
    pub(crate) write_deadline_ms: u64,
    pub(crate) override_reserve_bytes: u64,
    pub(crate) stranger_records_per_s: u32,
    /// Absent: the site's issuer.
    pub(crate) issuer: Option<String>,
    pub(crate) freeze_file: Option<PathBuf>,
    pub(crate) workers: u32,
    /// Lines added to `[listen]`.
    pub(crate) listen: String,
    /// Lines added to `[upstream]`.
    pub(crate) upstream_limits: String,
}

impl Default for SidecarFile {
    fn default() -> Self {
        Self {
            service: SERVICE.to_owned(),
            upstream: None,
            audit: None,
            write_deadline_ms: 1_000,
            override_reserve_bytes: 1 << 20,
            stranger_records_per_s: 10_000,
            issuer: None,
            freeze_file: None,
            workers: 2,
            listen: String::new(),
            upstream_limits: String::new(),
        }
    }
}

impl SidecarFile {
    /// What a test leaves in flight is not waited for long, unless it says so.
    fn drain(&self) -> String {
        let own = self.listen.contains("drain_timeout_ms_max");
        if own { self.listen.clone() } else { format!("{}\ndrain_timeout_ms_max = 5000", self.listen) }
    }

    pub(super) fn write(&self, site: &Site, instance: &str) -> PathBuf {
        let (folder, upstream, issuer) = (site.path(), site.upstream, site.issuer_addr);
        self.write_in(&Surroundings { folder, upstream, issuer, feeds: &[site.feed] }, instance)
    }

    pub(super) fn write_in(&self, around: &Surroundings<'_>, instance: &str) -> PathBuf {
        let folder = around.folder.join(instance);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("service.toml"), &self.service).unwrap();
        let upstream = self.upstream.clone().unwrap_or_else(|| format!("http://{}", around.upstream));
        let audit = self.audit.clone().unwrap_or_else(|| folder.join("audit"));
        std::fs::create_dir_all(&audit).unwrap();
        let issuer = self.issuer.clone().unwrap_or_else(|| format!("http://{}", around.issuer));
        let mut text = format!("service = \"service.toml\"\ninstance = \"{instance}\"\n");
        let _ = writeln!(text, "request_url = \"https://console.test/request\"");
        if let Some(file) = &self.freeze_file {
            let _ = writeln!(text, "freeze_file = \"{}\"", file.display());
        }
        let _ = write!(
            text,
            "[listen]\naddress = \"127.0.0.1:0\"\nworkers = {}\n{}\n\
             [tls]\ncertificate = \"../server.pem\"\nkey = \"../server.key\"\n\
             [upstream]\nurl = \"{upstream}\"\n{}\n\
             [feed]\naddresses = {:?}\nserver_name = \"localhost\"\nca = \"../ca.pem\"\n\
             certificate = \"../feed-payments.pem\"\nkey = \"../feed-payments.key\"\n\
             [trust]\ngrant_roots_file = \"../grant-roots\"\n[[issuer]]\nurl = \"{issuer}\"\n\
             [audit]\ndirectory = \"{}\"\nwrite_deadline_ms_max = {}\noverride_reserve_bytes = {}\n\
             stranger_records_per_s_max = {}\nstranger_bytes_per_s_max = 10000000\n\
             [admin]\naddress = \"127.0.0.1:0\"\n[assertion]\nlisten = \"127.0.0.1:0\"\n",
            self.workers,
            self.drain(),
            self.upstream_limits,
            around.feeds.iter().map(SocketAddr::to_string).collect::<Vec<_>>(),
            audit.display(),
            self.write_deadline_ms,
            self.override_reserve_bytes,
            self.stranger_records_per_s,
        );
        let file = folder.join("sidecar.toml");
        std::fs::write(&file, text).unwrap();
        file
    }
}

pub(super) fn write_certificates(folder: &Path, authority: &DevAuthority) {
    std::fs::write(folder.join("ca.pem"), authority.certificate_pem()).unwrap();
    write_leaf(folder, "server", &authority.server("server", &["localhost", "127.0.0.1"]).unwrap());
    let client = authority.sidecar_client(&"payments".parse().unwrap()).unwrap();
    write_leaf(folder, "feed-payments", &client);
}

fn write_leaf(folder: &Path, name: &str, leaf: &Leaf) {
    std::fs::write(folder.join(format!("{name}.pem")), &leaf.certificate_pem).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), leaf.key_pem.expose()).unwrap();
}

/// A test calls as one person as fast as it can.
const API_LIMITS: &str = "[api.limits]\nreads_per_minute_max = 1000000\nwrites_per_minute_max = 1000000\n\
                          creates_per_minute_max = 1000000\nfailed_authentications_per_minute_max = 1000000\n";

/// What a sidecar stands between.
pub(super) struct Surroundings<'a> {
    pub(super) folder: &'a Path,
    pub(super) upstream: SocketAddr,
    pub(super) issuer: SocketAddr,
    pub(super) feeds: &'a [SocketAddr],
}

/// The lines are added at the top of the control plane's file, and to its issuer.
pub(super) fn write_control(
    folder: &Path,
    issuer: &str,
    feed: SocketAddr,
    database: &str,
    (lines, issuer_lines): (&str, &str),
) -> PathBuf {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    ControlFile { name: "control", issuer, addresses: (any, feed, any), database, lines, issuer_lines }.write(folder)
}

/// What can be said of one control plane's file; the rest is the same for all.
pub(super) struct ControlFile<'a> {
    pub(super) name: &'a str,
    pub(super) issuer: &'a str,
    /// Of the API, the feed and the admin port.
    pub(super) addresses: (SocketAddr, SocketAddr, SocketAddr),
    pub(super) database: &'a str,
    /// Added at the top.
    pub(super) lines: &'a str,
    /// Added to the issuer.
    pub(super) issuer_lines: &'a str,
}

impl ControlFile<'_> {
    pub(super) fn write(&self, folder: &Path) -> PathBuf {
        write_control_file(folder, self)
    }
}

fn write_control_file(folder: &Path, control: &ControlFile<'_>) -> PathBuf {
    let ControlFile { name, issuer, addresses: (api, feed, admin), database, lines, issuer_lines } = control;
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("payments.toml", SERVICE);
    write("ledger.toml", &SERVICE.replacen("name = \"payments\"", "name = \"ledger\"", 1));
    write("policy.toml", POLICY);
    let keys = "certificate = \"server.pem\"\nkey = \"server.key\"\n";
    let text = format!(
        "{lines}\nurl = \"https://localhost\"\ndatabase = \"{database}\"\nkeys = \"keys\"\naudience = \"control\"\n\
         policy = \"policy.toml\"\nservices = [\"payments.toml\", \"ledger.toml\"]\n\
         [api]\naddress = \"{api}\"\n{keys}{API_LIMITS}[feed]\naddress = \"{feed}\"\n{keys}client_ca = \"ca.pem\"\n\
         [admin]\naddress = \"{admin}\"\n[[issuer]]\nurl = \"{issuer}\"\n{issuer_lines}\
         [groups]\nadmins = [\"breakglass-admins\"]\nauditors = [\"breakglass-auditors\"]\nrevokers = [\"payments-leads\"]\n"
    );
    let file = format!("{name}.toml");
    write(&file, &text);
    folder.join(file)
}
