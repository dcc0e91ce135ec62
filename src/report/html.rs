//! A page as HTML that prints: one document without scripts, links or anything from elsewhere.
//!
//! INVARIANT: every text of a report is escaped by the template. The policy of [`content_security_policy`] allows the one
//! style sheet, by its digest, and nothing else.

use askama::Template;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::page::Page;

/// Set in the template as it is: the digest of the policy is over these very bytes.
const STYLE: &str = include_str!("report.css");

#[derive(Template)]
#[template(path = "report.html")]
struct Document<'a> {
    page: &'a Page,
    style: &'static str,
}

/// # Errors
/// When the template fails, which memory gives it no cause for.
pub fn render(page: &Page) -> Result<String, askama::Error> {
    Document { page, style: STYLE }.render()
}

/// Of `Content-Security-Policy` (CSP Level 3).
pub fn content_security_policy() -> String {
    let digest = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::page::{Cell, Section, Table};

    const HOSTILE: &str = "</td><script>alert(1)</script><img src=x onerror=\"alert('1')\">&amp;";

    #[test]
    fn what_somebody_typed_is_text() {
        let cell = || Cell::plain(HOSTILE);
        let page = Page {
            title: HOSTILE.to_owned(),
            lead: HOSTILE.to_owned(),
            verdict: Some(cell()),
            sections: vec![Section {
                title: HOSTILE.to_owned(),
                note: HOSTILE.to_owned(),
                facts: vec![("Person", cell())],
                table: Table { head: vec!["x"], rows: vec![vec![cell()]] },
                verbatim: HOSTILE.to_owned(),
            }],
            foot: HOSTILE.to_owned(),
            ..Page::default()
        };
        let html = render(&page).unwrap();
        assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
        assert_eq!(html.matches("alert(1)").count(), 10, "the title twice, every other text once");
        assert!(html.contains(&format!("<style>{STYLE}</style>")), "the digest is over what stands there");
        assert!(
            !html.contains("http:") && !html.contains("https:") && !html.contains("url("),
            "nothing from elsewhere"
        );
    }

    #[test]
    fn the_policy_allows_nothing_but_the_style() {
        let policy = content_security_policy();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(!policy.contains("unsafe") && !policy.contains('*'));
    }
}
