//! The early end of grants: which ones a revocation is about.

use super::grant::{crockford12, is_prefixed_id};
use super::text::text_type;
use super::{GrantId, Person, Resource, ServiceName};

text_type! {
    /// `r-` and twelve characters.
    RevocationId, "revocation id", max 14, "is 'r-' and 12 characters of Crockford base 32 in lower case", is_revocation_id,
    pattern "^r-[0-9a-hjkmnp-tv-z]{12}$", example "r-0123456789ab"
}

impl RevocationId {
    /// The id made from 60 of the given 64 random bits.
    pub fn from_random(bits: u64) -> Self {
        Self(format!("r-{}", crockford12(bits)).into())
    }
}

fn is_revocation_id(text: &str) -> bool {
    is_prefixed_id("r-", text)
}

/// What a revocation is about. It ends what is live at its moment; what is granted later is not its business: that is
/// what a freeze is for, and the policy.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Selector {
    /// This grant.
    Grant { grant: GrantId },
    /// Every grant of a person, and the requests that wait for an answer.
    Person { person: Person },
    /// Every grant that names the resource, at one service or at all.
    Resource {
        resource: Resource,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        service: Option<ServiceName>,
    },
    /// Every grant of a service.
    Service { service: ServiceName },
    /// Every grant there is.
    Everything {},
    /// No grant, but every override of a service, or of all: until the freeze is lifted.
    Freeze {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        service: Option<ServiceName>,
    },
}

impl Selector {
    /// The `kind` of its JSON.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Grant { .. } => "grant",
            Self::Person { .. } => "person",
            Self::Resource { .. } => "resource",
            Self::Service { .. } => "service",
            Self::Everything {} => "everything",
            Self::Freeze { .. } => "freeze",
        }
    }

    pub const fn grant(&self) -> Option<&GrantId> {
        if let Self::Grant { grant } = self { Some(grant) } else { None }
    }

    pub const fn person(&self) -> Option<&Person> {
        if let Self::Person { person } = self { Some(person) } else { None }
    }

    pub const fn resource(&self) -> Option<&Resource> {
        if let Self::Resource { resource, .. } = self { Some(resource) } else { None }
    }

    /// The one service it is about, where it is about one.
    pub const fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Service { service } => Some(service),
            Self::Resource { service, .. } | Self::Freeze { service } => service.as_ref(),
            Self::Grant { .. } | Self::Person { .. } | Self::Everything {} => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_tagged_and_takes_nothing_else() {
        let read = |text: &str| serde_json::from_str::<Selector>(text);
        let person = Selector::Person { person: "alice".parse().unwrap() };
        assert_eq!(serde_json::to_string(&person).unwrap(), r#"{"kind":"person","person":"alice"}"#);
        assert_eq!(read(r#"{"kind":"everything"}"#).unwrap(), Selector::Everything {});
        for bad in [
            r#"{"kind":"everything","person":"alice"}"#,
            r#"{"kind":"person"}"#,
            r#"{"kind":"resource","resource":"contract/*"}"#,
            r#"{"kind":"all"}"#,
            r#"{"person":"alice"}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
