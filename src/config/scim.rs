//! The `[[scim]]` tables: which provisioning clients keep people and groups here (SCIM 2.0), and how the people they know
//! are called here.

use std::path::PathBuf;

use super::reader::Section;
use crate::domain::{Issuer, TransmitterName};
use crate::identity::{IssuerConfig, Naming};

/// One provisioning client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScimConfig {
    /// What it is called in entries and in the log.
    pub name: TransmitterName,
    /// Its secret, in a file of mode 0600.
    pub token_file: PathBuf,
    /// The attribute of a user that has the value of the issuer's `person_claim`.
    pub person: PersonAttribute,
    /// As configured for the issuer whose people these are.
    pub naming: Naming,
}

/// Which attribute names the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersonAttribute {
    UserName,
    ExternalId,
}

/// Reads all `[[scim]]` tables of `root`.
pub(super) fn read_scim(root: &Section<'_>, issuers: &[IssuerConfig]) -> Vec<ScimConfig> {
    let mut all: Vec<ScimConfig> = Vec::new();
    for section in root.sections("scim") {
        let Some(client) = read_one(&section, issuers) else { continue };
        if all.iter().any(|known| known.name == client.name) {
            section.mistake("name", "stands twice", None);
        }
        all.push(client);
    }
    if all.is_empty() && issuers.iter().any(|issuer| issuer.groups_by_scim) {
        root.mistake(
            "scim",
            "an issuer has groups = \"scim\", and nobody keeps groups here",
            Some("add a [[scim]] table"),
        );
    }
    all
}

fn read_one(section: &Section<'_>, issuers: &[IssuerConfig]) -> Option<ScimConfig> {
    const ATTRIBUTES: [(&str, PersonAttribute); 2] =
        [("userName", PersonAttribute::UserName), ("externalId", PersonAttribute::ExternalId)];
    let name = section.required("name");
    let token_file = section.required_path("token_file");
    let person = section.choice("person", &ATTRIBUTES);
    let issuer: Option<Issuer> = section.required("issuer");
    let issuer = issuer?;
    let Some(known) = issuers.iter().find(|known| known.issuer == issuer) else {
        section.mistake(
            "issuer",
            "is the url of no [[issuer]]",
            Some("name the issuer that these people sign in with"),
        );
        return None;
    };
    let person = person.unwrap_or(PersonAttribute::UserName);
    Some(ScimConfig { name: name?, token_file: token_file?, person, naming: known.naming() })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::reader;

    fn read(text: &str, groups_by_scim: bool) -> Result<Vec<ScimConfig>, String> {
        let mut issuer = IssuerConfig::new("https://idp.test".parse().unwrap(), "control".parse().unwrap());
        issuer.person_prefix = "idp|".to_owned();
        issuer.groups_by_scim = groups_by_scim;
        let read = |root: &Section<'_>| Some(read_scim(root, std::slice::from_ref(&issuer)));
        reader::parse(Path::new("control.toml"), text, read).map_err(|error| error.to_string())
    }

    #[test]
    fn a_client_keeps_the_people_of_an_issuer() {
        let client = "[[scim]]\nname = \"entra\"\ntoken_file = \"t\"\nissuer = \"https://idp.test\"\n";
        let one = &read(client, true).unwrap()[0];
        assert_eq!((one.person, one.naming.prefix.as_str()), (PersonAttribute::UserName, "idp|"));
        let other = read(&format!("{client}person = \"externalId\"\n"), false).unwrap();
        assert_eq!(other[0].person, PersonAttribute::ExternalId);
        let mistake = read("", true).unwrap_err();
        assert!(mistake.contains("nobody keeps groups here"), "{mistake}");
        let mistake = read(&client.replace("idp.test", "x.test"), false).unwrap_err();
        assert!(mistake.contains("is the url of no [[issuer]]"), "{mistake}");
    }
}
