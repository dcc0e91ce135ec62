//! Whom an event is about: subject identifiers (RFC 9493), turned into persons exactly as tokens of that issuer are.

use serde_json::{Map, Value};

use super::set::SetError;
use crate::domain::{Issuer, Person, Subject as IssuerSubject};
use crate::identity::Naming;

/// Greatest number of identifiers that one subject is given.
const IDENTIFIERS_MAX: usize = 16;

/// The identifiers of a subject: empty where there is none that is known here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject(Vec<Identifier>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Identifier {
    /// §3.2.4
    IssuerAndSubject { issuer: String, subject: String },
    /// §3.2.2
    Email(String),
}

/// Whose people a transmitter may speak of, and how they are called here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectMapping {
    /// The issuer whose `sub` is spoken of.
    pub issuer: Issuer,
    /// As configured for that issuer.
    pub person_claim: String,
    pub naming: Naming,
}

/// Somebody, as far as an event says who.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    Person(Person),
    /// The person's name is in another claim than the event has: who has called before is known by this.
    Principal(IssuerSubject),
}

impl SubjectMapping {
    /// The persons that a subject names. What can't be one of ours names nobody.
    pub fn named(&self, subject: &Subject) -> Vec<Named> {
        subject.0.iter().filter_map(|identifier| self.name(identifier)).collect()
    }

    fn name(&self, identifier: &Identifier) -> Option<Named> {
        let person = |value: &str| self.naming.person(value).ok().map(Named::Person);
        match identifier {
            Identifier::IssuerAndSubject { issuer, .. } if *issuer != self.issuer.as_str() => None,
            Identifier::IssuerAndSubject { subject, .. } if self.person_claim == "sub" => person(subject),
            Identifier::IssuerAndSubject { subject, .. } => subject.parse().ok().map(Named::Principal),
            // Only where tokens call people by it: else a mailbox would decide who somebody is.
            Identifier::Email(email) if self.person_claim == "email" => person(email),
            Identifier::Email(_) => None,
        }
    }
}

/// Reads a simple, aliased or complex subject. A format that is not known names nobody; a known one must be whole.
pub(super) fn read(value: &Value) -> Result<Subject, SetError> {
    let subject = value.as_object().ok_or(SetError::Subject)?;
    let mut found = Vec::new();
    match format(subject)? {
        // SSF 1.0 §3.2: the user among session, device, tenant and more. Drafts did not name the format.
        "complex" => {
            if let Some(user) = subject.get("user") {
                simple(user.as_object().ok_or(SetError::Subject)?, &mut found)?;
            }
        }
        "aliases" => aliases(subject, &mut found)?,
        _ => simple(subject, &mut found)?,
    }
    Ok(Subject(found))
}

fn format(subject: &Map<String, Value>) -> Result<&str, SetError> {
    match subject.get("format") {
        Some(Value::String(format)) => Ok(format),
        Some(_) => Err(SetError::Subject),
        None if subject.contains_key("user") => Ok("complex"),
        None => Err(SetError::Subject),
    }
}

/// §3.2.8: several names of one; they do not nest.
fn aliases(subject: &Map<String, Value>, found: &mut Vec<Identifier>) -> Result<(), SetError> {
    let listed = subject.get("identifiers").and_then(Value::as_array).ok_or(SetError::Subject)?;
    if listed.is_empty() || listed.len() > IDENTIFIERS_MAX {
        return Err(SetError::Subject);
    }
    listed.iter().try_for_each(|one| simple(one.as_object().ok_or(SetError::Subject)?, found))
}

fn simple(subject: &Map<String, Value>, found: &mut Vec<Identifier>) -> Result<(), SetError> {
    let text = |name: &str| match subject.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        None | Some(_) => Err(SetError::Subject),
    };
    match format(subject)? {
        "iss_sub" => found.push(Identifier::IssuerAndSubject { issuer: text("iss")?, subject: text("sub")? }),
        "email" => found.push(Identifier::Email(text("email")?)),
        _ => {}
    }
    Ok(())
}
