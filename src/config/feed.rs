//! Where a sidecar finds the control plane's feed, and how it proves itself there.

use std::path::PathBuf;

use super::reader::Section;

/// `[feed]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedConfig {
    /// `host:port` of the control plane's feed listeners, at least one. Each serves the same: the first that takes the
    /// stream will do.
    pub addresses: Vec<String>,
    /// The name its certificate must carry.
    pub server_name: String,
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// `address = "…"`, or `addresses = ["…", …]` for several replicas.
pub(super) fn read_feed(section: &Section<'_>) -> Option<FeedConfig> {
    let addresses = read_addresses(section);
    let server_name = section.required("server_name");
    let ca = section.required_path("ca");
    let certificate = section.required_path("certificate");
    let key = section.required_path("key");
    Some(FeedConfig { addresses, server_name: server_name?, ca: ca?, certificate: certificate?, key: key? })
}

fn read_addresses(section: &Section<'_>) -> Vec<String> {
    let one: Option<String> = section.optional("address");
    if !section.has("addresses") {
        if !section.has("address") {
            section.mistake("address", "is missing", Some("name one as address, or several replicas as addresses"));
        }
        return one.into_iter().collect();
    }
    if section.has("address") {
        section.mistake("address", "stands beside addresses", Some("name all of them in addresses"));
    }
    section.required_list("addresses")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::reader;

    fn read(text: &str) -> Result<FeedConfig, String> {
        let text = format!("{text}\nserver_name = \"control\"\nca = \"ca\"\ncertificate = \"c\"\nkey = \"k\"\n");
        reader::parse(Path::new("sidecar.toml"), &text, read_feed).map_err(|error| error.to_string())
    }

    #[test]
    fn one_address_or_several() {
        let one = read("address = \"control:9444\"").unwrap();
        assert_eq!(one.addresses, ["control:9444"]);
        let several = read("addresses = [\"a:9444\", \"b:9444\"]").unwrap();
        assert_eq!(several.addresses, ["a:9444", "b:9444"]);
    }

    #[test]
    fn none_or_both_is_a_mistake() {
        for (text, wanted) in [
            ("", "address: is missing (name one as address, or several replicas as addresses)"),
            ("addresses = []", "addresses: must not be empty"),
            ("address = \"a:1\"\naddresses = [\"b:1\"]", "address: stands beside addresses"),
        ] {
            let report = read(text).unwrap_err();
            assert!(report.contains(wanted), "{wanted:?} is not in\n{report}");
        }
    }
}
