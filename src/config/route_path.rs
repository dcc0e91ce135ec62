//! Path and resource templates of routes: `/v1/contracts/{contract}` and `contract/{contract}`.
//!
//! A template is literal segments and whole-segment parameters, nothing else: no wildcard over several segments, no
//! part of a segment, no optional part. So the path alone fixes the resource, and two templates can be compared.

use std::fmt;
use std::str::FromStr;

use crate::domain::ResourceType;

/// One segment of a path template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Matches exactly this text, in canonical form.
    Literal(String),
    /// Matches any one non-empty segment.
    Parameter(String),
}

/// A path template: begins with `/`, has no empty segment and no trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    segments: Vec<Segment>,
}

/// Where a resource's id comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceTemplate {
    /// `contract/{contract}`: the named path parameter.
    FromPath { kind: ResourceType, parameter: String },
    /// `ledger/main`: always this one.
    Fixed(crate::domain::Resource),
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("must begin with '/'")]
    NoLeadingSlash,
    #[error("has an empty segment")]
    EmptySegment,
    #[error("has more than {} segments", PathTemplate::SEGMENTS_MAX)]
    TooManySegments,
    #[error("segment \"{0}\" may hold only A-Z a-z 0-9 - . _ ~ ! $ & ' ( ) + , = : @ and no dot segment")]
    Literal(String),
    #[error("\"{0}\" is no parameter: a parameter is a whole segment, {{name}} in lower-case letters, digits and '_'")]
    Parameter(String),
    #[error("parameter {{{0}}} stands twice")]
    Repeated(String),
    #[error("must be type/{{parameter}} or type/id")]
    Resource,
}

impl PathTemplate {
    /// Greatest number of segments.
    pub const SEGMENTS_MAX: usize = 32;

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub fn has_parameter(&self, name: &str) -> bool {
        self.segments.iter().any(|segment| matches!(segment, Segment::Parameter(parameter) if parameter == name))
    }

    /// True when every path that one matches, the other matches too: parameters' names do not count.
    pub fn same_shape(&self, other: &Self) -> bool {
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(|pair| match pair {
                (Segment::Literal(a), Segment::Literal(b)) => a == b,
                (Segment::Parameter(_), Segment::Parameter(_)) => true,
                (Segment::Literal(_), Segment::Parameter(_)) | (Segment::Parameter(_), Segment::Literal(_)) => false,
            })
    }
}

impl FromStr for PathTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let rest = text.strip_prefix('/').ok_or(TemplateError::NoLeadingSlash)?;
        if rest.is_empty() {
            return Ok(Self { segments: Vec::new() });
        }
        let segments = rest.split('/').map(parse_segment).collect::<Result<Vec<_>, _>>()?;
        if segments.len() > Self::SEGMENTS_MAX {
            return Err(TemplateError::TooManySegments);
        }
        for (index, segment) in segments.iter().enumerate() {
            if let Segment::Parameter(name) = segment
                && segments.iter().skip(index + 1).any(|later| later == segment)
            {
                return Err(TemplateError::Repeated(name.clone()));
            }
        }
        Ok(Self { segments })
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segments.is_empty() {
            return f.write_str("/");
        }
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Parameter(name) => write!(f, "/{{{name}}}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for ResourceTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let (kind, id) = text.split_once('/').ok_or(TemplateError::Resource)?;
        if id.starts_with('{') {
            let kind = kind.parse().map_err(|_| TemplateError::Resource)?;
            return Ok(Self::FromPath { kind, parameter: parameter_name(id)?.to_owned() });
        }
        text.parse().map(Self::Fixed).map_err(|_| TemplateError::Resource)
    }
}

impl ResourceTemplate {
    /// The kind of resource this template yields.
    pub fn kind(&self) -> &str {
        match self {
            Self::FromPath { kind, .. } => kind.as_str(),
            Self::Fixed(resource) => resource.kind(),
        }
    }
}

fn parse_segment(text: &str) -> Result<Segment, TemplateError> {
    if text.is_empty() {
        return Err(TemplateError::EmptySegment);
    }
    if text.contains(['{', '}']) {
        return Ok(Segment::Parameter(parameter_name(text)?.to_owned()));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()+,=:@".contains(&b);
    if text == "." || text == ".." || !text.bytes().all(plain) {
        return Err(TemplateError::Literal(text.to_owned()));
    }
    Ok(Segment::Literal(text.to_owned()))
}

fn parameter_name(text: &str) -> Result<&str, TemplateError> {
    text.strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .filter(|name| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        })
        .ok_or_else(|| TemplateError::Parameter(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_round_trip() {
        for text in ["/", "/v1/contracts/{contract}", "/a/b.c/{x_1}/d"] {
            assert_eq!(text.parse::<PathTemplate>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_has_more_than_one_reading_is_no_template() {
        for text in
            ["", "a", "//", "/a/", "/a//b", "/{a}x", "/{A}", "/*", "/a/*", "/../a", "/%41", "/{a}/{a}", "/a;b", "/a b"]
        {
            let parsed = text.parse::<PathTemplate>();
            assert!(parsed.is_err(), "{text:?} gave {parsed:?}");
        }
    }

    #[test]
    fn shapes_ignore_names() {
        let shape = |text: &str| text.parse::<PathTemplate>().unwrap();
        assert!(shape("/a/{x}").same_shape(&shape("/a/{y}")));
        assert!(!shape("/a/{x}").same_shape(&shape("/a/b")));
    }
}
