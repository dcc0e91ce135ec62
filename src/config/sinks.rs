//! Where lines of the audit trail are handed on to: `[[audit.sinks]]` of a sidecar, `[[sinks]]` of the control plane.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;

use super::reader::Section;

/// The name of a sink: lower-case letters, digits and hyphens, at most 24. It names the sink's place over restarts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SinkName(String);

/// The text is no [`SinkName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 24 lower-case letters, digits and hyphens, the first a letter")]
pub struct NotASinkName;

impl SinkName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SinkName {
    type Err = NotASinkName;

    fn from_str(text: &str) -> Result<Self, NotASinkName> {
        let is_sound = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let begins = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        let fits = begins && text.len() <= 24 && text.bytes().all(is_sound);
        if fits { Ok(Self(text.to_owned())) } else { Err(NotASinkName) }
    }
}

impl fmt::Display for SinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One sink, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkConfig {
    pub name: SinkName,
    pub outlet: OutletConfig,
    /// Handed over at once.
    pub batch_lines_max: usize,
    pub batch_bytes_max: usize,
    /// How long a sink may take for one batch, and for a connection.
    pub timeout: Duration,
    /// Greatest pause between attempts while it fails.
    pub retry_pause_max: Duration,
}

/// What kind of sink, and what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutletConfig {
    File(FileOutlet),
    Stdout,
    Syslog(SyslogOutlet),
    Otlp(OtlpOutlet),
    Nats(NatsOutlet),
}

impl OutletConfig {
    pub const KINDS: [&'static str; 5] = ["file", "stdout", "syslog", "otlp", "nats"];

    pub const fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Stdout => "stdout",
            Self::Syslog(_) => "syslog",
            Self::Otlp(_) => "otlp",
            Self::Nats(_) => "nats",
        }
    }
}

/// Files of a folder of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOutlet {
    pub directory: PathBuf,
    pub rotate_bytes: u64,
    pub rotate_after: Duration,
    pub files_max: usize,
    /// Older files are removed; `None`: only their number counts.
    pub keep: Option<Duration>,
    pub group_readable: bool,
}

/// Whom a peer must be, and as whom it is met. Read anew for each connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerTls {
    pub ca: PathBuf,
    /// Certificate and key, where the peer asks who we are.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

/// The text is no [`HostPort`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be host:port")]
pub struct NotHostPort;

impl FromStr for HostPort {
    type Err = NotHostPort;

    fn from_str(text: &str) -> Result<Self, NotHostPort> {
        let (host, port) = text.rsplit_once(':').ok_or(NotHostPort)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port: u16 = port.parse().map_err(|_| NotHostPort)?;
        let fits = !host.is_empty() && port > 0 && !host.contains(['/', '@', ' ']);
        if fits { Ok(Self { host: host.to_owned(), port }) } else { Err(NotHostPort) }
    }
}

/// Syslog over TLS (RFC 5425).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogOutlet {
    pub address: HostPort,
    /// The name its certificate must carry.
    pub server_name: String,
    pub tls: PeerTls,
    pub facility: u8,
    pub app_name: String,
    /// `name@number`, the number a private enterprise number (RFC 5424 §7.2.2).
    pub structured_data_id: String,
}

/// OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpOutlet {
    /// The whole URL, `/v1/logs` included.
    pub url: Uri,
    pub tls: Option<PeerTls>,
    /// A file that holds a bearer token.
    pub token_file: Option<PathBuf>,
}

/// NATS JetStream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsOutlet {
    pub address: HostPort,
    pub server_name: String,
    pub tls: Option<PeerTls>,
    pub subject: String,
    pub login: NatsLogin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatsLogin {
    None,
    Token(PathBuf),
    Password { user: String, file: PathBuf },
}

/// Every sink of a list, each name once.
pub(super) fn read_sinks(section: &Section<'_>, reserved: &[&str]) -> Vec<SinkConfig> {
    let mut sinks: Vec<SinkConfig> = Vec::new();
    let mut folders: Vec<PathBuf> = Vec::new();
    for section in section.sections("sinks") {
        let Some(sink) = read_sink(&section) else { continue };
        if reserved.contains(&sink.name.as_str()) {
            section.mistake("name", format_args!("\"{}\" is taken", sink.name), Some("choose another name"));
        }
        if sinks.iter().any(|other| other.name == sink.name) {
            section.mistake("name", format_args!("two sinks are called \"{}\"", sink.name), None);
        }
        if let OutletConfig::File(file) = &sink.outlet {
            if folders.contains(&file.directory) {
                section.mistake("directory", "two sinks write into one folder", None);
            }
            folders.push(file.directory.clone());
        }
        sinks.push(sink);
    }
    if sinks.iter().filter(|sink| sink.outlet == OutletConfig::Stdout).count() > 1 {
        section.mistake("sinks", "two sinks write to stdout", None);
    }
    sinks
}

#[derive(Clone, Copy)]
enum Kind {
    File,
    Stdout,
    Syslog,
    Otlp,
    Nats,
}

fn read_sink(section: &Section<'_>) -> Option<SinkConfig> {
    let name = section.required("name");
    if !section.has("kind") {
        section.missing("kind");
    }
    let kinds = [Kind::File, Kind::Stdout, Kind::Syslog, Kind::Otlp, Kind::Nats];
    let choices: Vec<_> = OutletConfig::KINDS.into_iter().zip(kinds).collect();
    let kind = section.choice("kind", &choices);
    let batch_lines_max = section.size("batch_lines_max", 1..=10_000, 256);
    let batch_bytes_max = section.size("batch_bytes_max", 65_536..=16_777_216, 1_048_576);
    let timeout = section.millis("timeout_ms_max", 100..=120_000, 10_000);
    let retry_pause_max = section.millis("retry_pause_ms_max", 100..=600_000, 30_000);
    let Some(kind) = kind else {
        // Which other keys it may have is not known.
        section.ignore_unknown();
        return None;
    };
    let outlet = match kind {
        Kind::File => read_file(section),
        Kind::Stdout => Some(OutletConfig::Stdout),
        Kind::Syslog => read_syslog(section),
        Kind::Otlp => read_otlp(section),
        Kind::Nats => read_nats(section),
    };
    Some(SinkConfig { name: name?, outlet: outlet?, batch_lines_max, batch_bytes_max, timeout, retry_pause_max })
}

fn read_file(section: &Section<'_>) -> Option<OutletConfig> {
    let directory = section.required_path("directory");
    let rotate_bytes = section.integer("rotate_bytes", 65_536..=(1 << 36), 64 << 20);
    let rotate_after = Duration::from_secs(section.integer("rotate_after_s", 1..=31_536_000, 86_400));
    let files_max = section.size("files_max", 2..=100_000, 100);
    let keep = section.has("keep_s").then(|| Duration::from_secs(section.integer("keep_s", 60..=315_360_000, 60)));
    let group_readable = section.boolean("group_readable", false);
    let directory = directory?;
    Some(OutletConfig::File(FileOutlet { directory, rotate_bytes, rotate_after, files_max, keep, group_readable }))
}

/// `ca`, and `certificate` with `key`.
fn read_tls(section: &Section<'_>) -> Option<PeerTls> {
    let ca = section.required_path("ca");
    let own = match (section.path("certificate"), section.path("key")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            section.mistake("key", "is missing: the certificate needs it", None);
            None
        }
        (None, Some(_)) => {
            section.mistake("certificate", "is missing: the key needs it", None);
            None
        }
    };
    Some(PeerTls { ca: ca?, own })
}

fn read_syslog(section: &Section<'_>) -> Option<OutletConfig> {
    let address: Option<HostPort> = section.required("address");
    let server_name = section.optional("server_name");
    let tls = read_tls(section);
    let facility = u8::try_from(section.integer("facility", 0..=23, 13)).unwrap_or(13);
    let app_name = printable(section, "app_name", "breakglass", 48);
    let structured_data_id = section.optional("structured_data_id").unwrap_or_else(|| "breakglass@32473".to_owned());
    if !is_structured_data_id(&structured_data_id) {
        let hint = "such as \"breakglass@32473\", with your own enterprise number";
        section.mistake("structured_data_id", "must be name@number of at most 32 characters", Some(hint));
    }
    let address = address?;
    let server_name = server_name.unwrap_or_else(|| address.host.clone());
    let tls = tls?;
    Some(OutletConfig::Syslog(SyslogOutlet { address, server_name, tls, facility, app_name, structured_data_id }))
}

fn printable(section: &Section<'_>, key: &'static str, default: &str, bytes_max: usize) -> String {
    let text: String = section.optional(key).unwrap_or_else(|| default.to_owned());
    if text.is_empty() || text.len() > bytes_max || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        section.mistake(key, format_args!("must be 1 to {bytes_max} printable ASCII characters without blanks"), None);
    }
    text
}

/// RFC 5424 §6.3.2: an SD-NAME of at most 32 characters.
fn is_structured_data_id(text: &str) -> bool {
    let Some((name, number)) = text.split_once('@') else { return false };
    let is_name = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'=' | b']' | b'"' | b'@');
    let number_fits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    !name.is_empty() && text.len() <= 32 && name.bytes().all(is_name) && number_fits
}

fn read_otlp(section: &Section<'_>) -> Option<OutletConfig> {
    let url: Option<Uri> = section.required("url");
    let token_file = section.path("token_file");
    let is_secure = url.as_ref().and_then(Uri::scheme_str) == Some("https");
    if let Some(url) = &url
        && (url.authority().is_none() || !matches!(url.scheme_str(), Some("http" | "https")))
    {
        section.mistake("url", "must be a whole http or https URL", Some("such as \"https://collector:4318/v1/logs\""));
    }
    let tls = read_tls_where(section, is_secure, "url is http");
    if url.as_ref().is_some_and(|url| url.path() == "/") {
        section.mistake("url", "names no path", Some("receivers listen at /v1/logs"));
    }
    Some(OutletConfig::Otlp(OtlpOutlet { url: url?, tls, token_file }))
}

/// The keys of TLS, where it is spoken; else none of them may stand there.
fn read_tls_where(section: &Section<'_>, is_secure: bool, why_not: &str) -> Option<PeerTls> {
    if is_secure {
        return read_tls(section);
    }
    for key in ["ca", "certificate", "key"] {
        if section.has(key) {
            section.mistake(key, format_args!("has no use: {why_not}"), None);
        }
    }
    None
}

fn read_nats(section: &Section<'_>) -> Option<OutletConfig> {
    let address: Option<HostPort> = section.required("address");
    let server_name = section.optional("server_name");
    let is_secure = section.boolean("tls", true);
    let tls = read_tls_where(section, is_secure, "tls is false");
    let subject: Option<String> = section.required("subject");
    if subject.as_deref().is_some_and(|subject| !is_subject(subject)) {
        section.mistake(
            "subject",
            "must be words parted by dots, without wildcards",
            Some("such as \"audit.breakglass\""),
        );
    }
    let login = match (section.path("token_file"), section.optional("user"), section.path("password_file")) {
        (None, None, None) => NatsLogin::None,
        (Some(file), None, None) => NatsLogin::Token(file),
        (None, Some(user), Some(file)) => NatsLogin::Password { user, file },
        _ => {
            section.mistake("user", "name a token_file, or a user with a password_file", None);
            NatsLogin::None
        }
    };
    let address = address?;
    let server_name = server_name.unwrap_or_else(|| address.host.clone());
    Some(OutletConfig::Nats(NatsOutlet { address, server_name, tls, subject: subject?, login }))
}

fn is_subject(text: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic() && !b"*>".contains(&byte));
    text.len() <= 255 && text.split('.').all(is_word)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::reader;

    fn read(text: &str) -> Result<Vec<SinkConfig>, String> {
        let read = |section: &Section<'_>| Some(read_sinks(section, &["local", "ledger"]));
        reader::parse(Path::new("sidecar.toml"), text, read).map_err(|error| error.to_string())
    }

    #[test]
    fn one_of_each_kind() {
        let text = "[[sinks]]\nname = \"files\"\nkind = \"file\"\ndirectory = \"out\"\n\
                    [[sinks]]\nname = \"out\"\nkind = \"stdout\"\n\
                    [[sinks]]\nname = \"siem\"\nkind = \"syslog\"\naddress = \"siem.example:6514\"\nca = \"ca.pem\"\n\
                    [[sinks]]\nname = \"collector\"\nkind = \"otlp\"\nurl = \"http://127.0.0.1:4318/v1/logs\"\n\
                    [[sinks]]\nname = \"stream\"\nkind = \"nats\"\naddress = \"[::1]:4222\"\ntls = false\nsubject = \"a.b\"\n";
        let sinks = read(text).unwrap();
        let kinds: Vec<_> = sinks.iter().map(|sink| sink.outlet.kind()).collect();
        assert_eq!(kinds, OutletConfig::KINDS);
        let OutletConfig::Syslog(syslog) = &sinks[2].outlet else { panic!() };
        assert_eq!((syslog.server_name.as_str(), syslog.facility), ("siem.example", 13));
        let OutletConfig::Nats(nats) = &sinks[4].outlet else { panic!() };
        assert_eq!(nats.address, HostPort { host: "::1".to_owned(), port: 4222 });
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let text = "[[sinks]]\nname = \"Local\"\nkind = \"file\"\n\
                    [[sinks]]\nname = \"ledger\"\nkind = \"stdout\"\n\
                    [[sinks]]\nname = \"a\"\nkind = \"sylog\"\naddress = \"x\"\n\
                    [[sinks]]\nname = \"a\"\nkind = \"syslog\"\naddress = \"siem\"\ncertificate = \"c\"\nfacility = 24\n\
                    app_name = \"with blank\"\nstructured_data_id = \"x\"\n\
                    [[sinks]]\nname = \"b\"\nkind = \"otlp\"\nurl = \"ftp://x\"\nca = \"ca\"\n\
                    [[sinks]]\nname = \"b\"\nkind = \"nats\"\naddress = \"n:1\"\ntls = false\nca = \"x\"\nsubject = \"a.*\"\nuser = \"u\"\n\
                    [[sinks]]\nkind = \"stdout\"\nbatch_lines_max = 0\ncolour = 1\n";
        let report = read(text).unwrap_err();
        for wanted in [
            "sinks[0].name: must be 1 to 24",
            "sinks[0].directory: is missing",
            "sinks[1].name: \"ledger\" is taken",
            "did you mean \"syslog\"?",
            "sinks[3].address: must be host:port",
            "sinks[3].ca: is missing",
            "sinks[3].key: is missing: the certificate needs it",
            "sinks[3].facility: must be from 0 to 23",
            "sinks[3].app_name: must be 1 to 48",
            "sinks[3].structured_data_id: must be name@number",
            "sinks[4].url: must be a whole http or https URL",
            "sinks[4].ca: has no use: url is http",
            "sinks[5].ca: has no use: tls is false",
            "sinks[5].subject: must be words",
            "sinks[5].user: name a token_file, or a user with a password_file",
            "sinks[6].name: is missing",
            "sinks[6].batch_lines_max: must be from 1",
            "sinks[6].colour: unknown key",
        ] {
            assert!(report.contains(wanted), "{wanted:?} is not in\n{report}");
        }
    }

    #[test]
    fn names_and_folders_are_not_shared() {
        let text = "[[sinks]]\nname = \"a\"\nkind = \"file\"\ndirectory = \"x\"\n\
                    [[sinks]]\nname = \"a\"\nkind = \"file\"\ndirectory = \"x\"\n";
        let report = read(text).unwrap_err();
        assert!(report.contains("two sinks are called \"a\"") && report.contains("two sinks write into one folder"));
    }
}
