//! The `introspection` table of an `[[issuer]]`: whether, and how, the issuer is asked from time to time if the access
//! token of a person who has something here still stands (RFC 7662). For the control plane alone.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::identity::is_http_url;
use super::reader::Section;
use crate::identity::IssuerConfig;

/// Between two looks at the same token.
const EVERY_S: std::ops::RangeInclusive<u64> = 1..=3_600;
const EVERY_S_DEFAULT: u64 = 60;
const CLIENT_ID_BYTES_MAX: usize = 255;

/// One issuer that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntrospectionConfig {
    pub issuer: IssuerConfig,
    /// Between two looks at the same token.
    pub every: Duration,
    /// Where it is asked; absent: where its metadata say.
    pub endpoint: Option<Uri>,
    pub shows: Shows,
}

/// What the issuer is shown. Each file holds one line and has mode 0600.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shows {
    /// `client_secret_basic` (RFC 6749 §2.3.1).
    Basic { client_id: String, secret_file: PathBuf },
    /// `client_secret_post`.
    Post { client_id: String, secret_file: PathBuf },
    /// A token of its own (RFC 6750).
    Bearer { token_file: PathBuf },
}

/// Reads the tables of all issuers. `issuers` are those that stand without a mistake.
pub(super) fn read_introspection(root: &Section<'_>, issuers: &[IssuerConfig]) -> Vec<IntrospectionConfig> {
    let mut all = Vec::new();
    for section in root.sections("issuer") {
        // The rest of the table is read elsewhere.
        section.ignore_unknown();
        let Some(own) = section.section("introspection") else { continue };
        let url: Option<String> = section.optional("url");
        let issuer = issuers.iter().find(|known| Some(known.issuer.as_str()) == url.as_deref());
        all.extend(read_one(&own, issuer));
    }
    all
}

fn read_one(section: &Section<'_>, issuer: Option<&IssuerConfig>) -> Option<IntrospectionConfig> {
    let every = Duration::from_secs(section.integer("every_s", EVERY_S, EVERY_S_DEFAULT));
    let endpoint: Option<Uri> = section.optional("url");
    let is_secure = issuer.is_some_and(|issuer| issuer.issuer.as_str().starts_with("https:"));
    if let Some(text) = endpoint.as_ref().map(Uri::to_string) {
        if is_secure && !text.starts_with("https://") {
            section.mistake("url", "must begin with https://, as the issuer does", None);
        } else if !is_http_url(&text) {
            section.mistake("url", "must begin with https:// or http://", None);
        }
    }
    let shows = read_shows(section);
    Some(IntrospectionConfig { issuer: issuer?.clone(), every, endpoint, shows: shows? })
}

fn read_shows(section: &Section<'_>) -> Option<Shows> {
    let method = section.choice("method", &[("basic", true), ("post", false)]);
    if section.has("token_file") {
        for key in ["client_id", "client_secret_file", "method"] {
            if section.has(key) {
                section.mistake(key, "stands beside token_file", Some("keep one of both ways"));
            }
        }
        return section.path("token_file").map(|token_file| Shows::Bearer { token_file });
    }
    let client_id: Option<String> = section.required("client_id");
    let is_word =
        |id: &str| !id.is_empty() && id.len() <= CLIENT_ID_BYTES_MAX && id.bytes().all(|b| (b' '..=b'~').contains(&b));
    if client_id.as_deref().is_some_and(|id| !is_word(id)) {
        section.mistake("client_id", "must be visible ASCII", None);
    }
    let (client_id, secret_file) = (client_id?, section.required_path("client_secret_file")?);
    Some(match method {
        Some(false) => Shows::Post { client_id, secret_file },
        Some(true) | None => Shows::Basic { client_id, secret_file },
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::identity::read_issuers;
    use super::*;
    use crate::config::reader;

    fn read(url: &str, text: &str) -> Result<Vec<IntrospectionConfig>, String> {
        let audience = "control".parse().unwrap();
        let read = |root: &Section<'_>| {
            let issuers = read_issuers(root, Some(&audience));
            Some(read_introspection(root, &issuers))
        };
        let text = format!("[[issuer]]\nurl = \"{url}\"\nperson_claim = \"email\"\n[issuer.introspection]\n{text}\n");
        reader::parse(Path::new("control.toml"), &text, read).map_err(|error| error.to_string())
    }

    const CLIENT: &str = "client_id = \"us\"\nclient_secret_file = \"s\"\n";

    #[test]
    fn an_issuer_is_asked_as_its_table_says() {
        let all = read("https://idp.test", CLIENT).unwrap();
        let [one] = &all[..] else { panic!("{all:?}") };
        assert_eq!((one.issuer.person_claim.as_str(), one.every.as_secs()), ("email", 60));
        let secret_file = PathBuf::from("s");
        assert_eq!(one.shows, Shows::Basic { client_id: "us".to_owned(), secret_file: secret_file.clone() });
        let all =
            read("https://idp.test", &format!("{CLIENT}method = \"post\"\nevery_s = 300\nurl = \"https://x.test/i\""));
        let one = all.unwrap().remove(0);
        assert_eq!((one.every.as_secs(), one.endpoint.unwrap().to_string()), (300, "https://x.test/i".to_owned()));
        assert_eq!(one.shows, Shows::Post { client_id: "us".to_owned(), secret_file });
        let one = read("http://idp.test", "token_file = \"t\"\nurl = \"http://idp.test/i\"").unwrap().remove(0);
        assert_eq!(one.shows, Shows::Bearer { token_file: PathBuf::from("t") });
    }

    #[test]
    fn mistakes_say_what_is_wanted() {
        for (text, wanted) in [
            ("client_id = \"us\"", "issuer[0].introspection.client_secret_file: is missing"),
            ("client_secret_file = \"s\"", "issuer[0].introspection.client_id: is missing"),
            ("client_id = \"\"\nclient_secret_file = \"s\"", "client_id: must be visible ASCII"),
            ("token_file = \"t\"\nclient_id = \"us\"", "client_id: stands beside token_file"),
            (&format!("{CLIENT}every_s = 0"), "every_s: must be from 1 to 3600"),
            (&format!("{CLIENT}every_s = 3601"), "every_s: must be from 1 to 3600"),
            (&format!("{CLIENT}method = \"jwt\""), "method: must be one of \"basic\", \"post\""),
            (&format!("{CLIENT}url = \"http://idp.test/i\""), "url: must begin with https://, as the issuer does"),
            (&format!("{CLIENT}evry_s = 5"), "did you mean \"every_s\"?"),
        ] {
            let error = read("https://idp.test", text).unwrap_err();
            assert!(error.contains(wanted), "{wanted:?} is not in {error}");
        }
    }
}
