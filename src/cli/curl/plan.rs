//! Reads curl's arguments, so that one request is one request.
//!
//! INVARIANT: what this accepts makes curl send exactly one request to one URL, once redirects and retries are switched
//! off. Whatever could send more, or sends somewhere else, is not accepted, with the reason; so is what is not known.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::options::{self, CurlOption};

/// Where the body of the answer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BodyTo {
    Stdout,
    File(PathBuf),
}

/// What the arguments mean, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub method: String,
    pub url: String,
    /// curl reads its standard input, so both sends need the same.
    pub reads_stdin: bool,
    pub body_to: BodyTo,
    /// The answer's header stands before the body on the same stream.
    pub include_header: bool,
    /// `-f`: the body of a refusal is not shown.
    pub fail: bool,
    pub write_out: bool,
    /// Where the person wants the answer's header.
    pub dump_header: Option<String>,
    /// `-v` or a trace: would show the headers that are sent.
    pub traced: bool,
    pub insecure: bool,
    pub local_socket: bool,
    /// The person names a client certificate themselves.
    pub certified: bool,
    /// Another target than the URL's is asked for.
    pub retargeted: bool,
    /// Where further options can be put: the end, or before `--`.
    pub options_end: usize,
}

/// What is to be done with the arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Analysis {
    /// There is no URL: curl alone, for `--version` and the like.
    Bare,
    One(Box<Plan>),
}

/// Why arguments are not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub(super) struct NotAccepted {
    pub what: String,
    pub why: &'static str,
}

const MORE_THAN_ONCE: &str = "an override is sent exactly once, and this could send it again";
const ELSEWHERE: &str = "an override goes to the one URL that was named, and this could send it elsewhere";
const ONE_URL: &str = "an override is one request to one URL";
const NOT_READ: &str = "what it holds is not read here, and could change what is sent";
const SHOWS: &str = "it would write the identity token to a file";
const NO_NAME: &str = "the name of the file must be known beforehand: use -o FILE";
const PARTIAL: &str = "the first answer may be a refusal, and a part of it would stay in the file";
const OURS: &str = "this header is set by breakglass curl itself";
const UNKNOWN: &str = "this option is not known here, nor whether it sends a request more than once";

/// Options that are not accepted, and why.
const DENIED: &[(&str, &str)] = &[
    ("location", ELSEWHERE),
    ("location-trusted", ELSEWHERE),
    ("follow", ELSEWHERE),
    ("next", ONE_URL),
    ("parallel", ONE_URL),
    ("config", NOT_READ),
    ("variable", NOT_READ),
    ("metalink", ELSEWHERE),
    ("anyauth", MORE_THAN_ONCE),
    ("digest", MORE_THAN_ONCE),
    ("negotiate", MORE_THAN_ONCE),
    ("ntlm", MORE_THAN_ONCE),
    ("ntlm-wb", MORE_THAN_ONCE),
    ("proxy-anyauth", MORE_THAN_ONCE),
    ("proxy-digest", MORE_THAN_ONCE),
    ("proxy-negotiate", MORE_THAN_ONCE),
    ("proxy-ntlm", MORE_THAN_ONCE),
    ("libcurl", SHOWS),
    ("remote-header-name", NO_NAME),
    ("no-clobber", NO_NAME),
    ("skip-existing", NO_NAME),
    ("continue-at", PARTIAL),
];

/// Reads the arguments as curl would.
///
/// # Errors
/// When they could send more than one request, or something in them is not known.
pub(super) fn analyse(arguments: &[OsString]) -> Result<Analysis, NotAccepted> {
    let mut reading = Reading::default();
    let mut words = arguments.iter().enumerate();
    while let Some((index, word)) = words.next() {
        let word = text(word)?;
        if reading.only_urls || !word.starts_with('-') || word == "-" {
            reading.urls.push(word.to_owned());
        } else if word == "--" {
            reading.only_urls = true;
            reading.options_end = Some(index);
        } else {
            for (option, attached) in split(word)? {
                let value = match (option.takes_value, attached) {
                    (false, _) => None,
                    (true, Some(value)) => Some(value),
                    (true, None) => match words.next() {
                        Some((_, next)) => Some(text(next)?.to_owned()),
                        None => return Err(not_accepted(word, "its value is missing")),
                    },
                };
                reading.option(word, option, value.as_deref().unwrap_or_default())?;
            }
        }
    }
    reading.finish(arguments.len())
}

fn text(word: &OsString) -> Result<&str, NotAccepted> {
    word.to_str().ok_or_else(|| not_accepted(&word.to_string_lossy(), "it is not UTF-8"))
}

fn not_accepted(what: &str, why: &'static str) -> NotAccepted {
    // A value attached to an option may be a credential.
    let name = if what.starts_with("--") { what.split('=').next().unwrap_or(what) } else { what };
    NotAccepted { what: name.to_owned(), why }
}

/// The options in one word: one long one, or a cluster of letters whose last may carry its value.
fn split(word: &str) -> Result<Vec<(CurlOption, Option<String>)>, NotAccepted> {
    if let Some(name) = word.strip_prefix("--") {
        let option = options::long(name).ok_or_else(|| not_accepted(word, UNKNOWN))?;
        return Ok(vec![(option, None)]);
    }
    let mut found = Vec::new();
    let mut letters = word.chars();
    letters.next();
    while let Some(letter) = letters.next() {
        let option = options::short(letter).ok_or_else(|| not_accepted(&format!("-{letter}"), UNKNOWN))?;
        if option.takes_value {
            let rest = letters.as_str();
            found.push((option, (!rest.is_empty()).then(|| rest.to_owned())));
            break;
        }
        found.push((option, None));
    }
    Ok(found)
}

#[derive(Default)]
struct Reading {
    urls: Vec<String>,
    only_urls: bool,
    options_end: Option<usize>,
    request: Option<String>,
    head: bool,
    get: bool,
    posts: bool,
    upload: Option<String>,
    reads_stdin: bool,
    output: Option<String>,
    output_dir: Option<String>,
    remote_name: bool,
    include: bool,
    fail: bool,
    write_out: bool,
    dump_header: Option<String>,
    traced: bool,
    insecure: bool,
    local_socket: bool,
    certified: bool,
    retargeted: bool,
    globoff: bool,
}

impl Reading {
    fn option(&mut self, word: &str, option: CurlOption, value: &str) -> Result<(), NotAccepted> {
        let on = !option.negated;
        if let Some((_, why)) = DENIED.iter().find(|(name, _)| on && *name == option.name) {
            return Err(not_accepted(word, why));
        }
        match option.name {
            "retry" if value != "0" => return Err(not_accepted(word, MORE_THAN_ONCE)),
            "url" => self.urls.push(value.to_owned()),
            "request" => self.request = Some(value.to_owned()),
            "head" => self.head = on,
            "get" => self.get = on,
            "data" | "data-ascii" | "data-binary" | "json" => self.body(value == "@-"),
            "data-raw" | "form-string" => self.body(false),
            "data-urlencode" => self.body(value.ends_with("@-")),
            "form" => self.body(form_reads_stdin(value)),
            "upload-file" if self.upload.is_some() => return Err(not_accepted(word, ONE_URL)),
            "upload-file" => self.upload = Some(value.to_owned()),
            "header" => return self.header(word, value),
            "url-query" => self.reads_stdin |= value.ends_with("@-"),
            "write-out" => {
                self.write_out = true;
                self.reads_stdin |= value == "@-";
            }
            "cookie" => self.reads_stdin |= value == "-",
            "output" => _ = self.output.get_or_insert_with(|| value.to_owned()),
            "output-dir" => self.output_dir = Some(value.to_owned()),
            "remote-name" | "remote-name-all" => self.remote_name = on,
            "out-null" => self.output = Some("/dev/null".to_owned()),
            "include" | "show-headers" => self.include = on,
            "fail" => self.fail = on,
            "dump-header" => self.dump_header = Some(value.to_owned()),
            "verbose" => self.traced = on,
            "trace" | "trace-ascii" | "trace-config" => self.traced = true,
            "insecure" => self.insecure = on,
            "unix-socket" | "abstract-unix-socket" => self.local_socket = true,
            "cert" => self.certified = true,
            "request-target" => self.retargeted = true,
            "globoff" => self.globoff = on,
            _ => {}
        }
        Ok(())
    }

    fn body(&mut self, from_stdin: bool) {
        self.posts = true;
        self.reads_stdin |= from_stdin;
    }

    fn header(&mut self, word: &str, value: &str) -> Result<(), NotAccepted> {
        if is_ours(value) {
            return Err(not_accepted(word, OURS));
        }
        if let Some(file) = value.strip_prefix('@') {
            if file == "-" {
                self.reads_stdin = true;
            } else if std::fs::read_to_string(file).is_ok_and(|lines| lines.lines().any(is_ours)) {
                return Err(not_accepted(word, OURS));
            }
        }
        Ok(())
    }

    fn finish(self, arguments: usize) -> Result<Analysis, NotAccepted> {
        let url = match self.urls.as_slice() {
            [] => return Ok(Analysis::Bare),
            [url] => url.clone(),
            [_, second, ..] => return Err(not_accepted(second, ONE_URL)),
        };
        let upload = self.upload.as_deref().unwrap_or_default();
        if !self.globoff && (has_glob(&url) || has_glob(upload)) {
            return Err(not_accepted(
                &url,
                "{} and [] name several URLs: an override is one request; -g switches that off",
            ));
        }
        Ok(Analysis::One(Box::new(Plan {
            method: self.method(),
            reads_stdin: self.reads_stdin || matches!(upload, "-" | "."),
            body_to: self.body_to(&url),
            include_header: self.include || self.head,
            fail: self.fail,
            write_out: self.write_out,
            dump_header: self.dump_header,
            traced: self.traced,
            insecure: self.insecure,
            local_socket: self.local_socket,
            certified: self.certified,
            retargeted: self.retargeted,
            options_end: self.options_end.unwrap_or(arguments),
            url,
        })))
    }

    fn method(&self) -> String {
        let implied = match () {
            () if self.head => "HEAD",
            () if self.upload.is_some() => "PUT",
            () if self.posts && !self.get => "POST",
            () => "GET",
        };
        self.request.clone().unwrap_or_else(|| implied.to_owned())
    }

    fn body_to(&self, url: &str) -> BodyTo {
        let name = match &self.output {
            Some(name) => Some(name.clone()),
            None if self.remote_name => Some(remote_name(url)),
            None => None,
        };
        match name {
            None => BodyTo::Stdout,
            Some(name) if name == "-" => BodyTo::Stdout,
            Some(name) => BodyTo::File(Path::new(self.output_dir.as_deref().unwrap_or_default()).join(name)),
        }
    }
}

/// The last part of the URL's path, as `-O` names its file.
fn remote_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn is_ours(line: &str) -> bool {
    line.get(..11).is_some_and(|start| start.eq_ignore_ascii_case("break-glass"))
}

fn has_glob(url: &str) -> bool {
    // An IPv6 address in brackets is no range.
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    authority.contains('{') || path.contains(['{', '['])
}

fn form_reads_stdin(value: &str) -> bool {
    let content = value.split_once('=').map_or(value, |(_, content)| content);
    let file = content.split(';').next().unwrap_or_default();
    matches!(file, "@-" | "<-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Analysis, NotAccepted> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        analyse(&words)
    }

    fn plan(line: &str) -> Plan {
        match read(line) {
            Ok(Analysis::One(plan)) => *plan,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_method_is_what_curl_would_send() {
        for (line, method) in [
            ("https://a/", "GET"),
            ("-I https://a/", "HEAD"),
            ("-d x https://a/", "POST"),
            ("-dx https://a/", "POST"),
            ("-G -d x https://a/", "GET"),
            ("-T f https://a/", "PUT"),
            ("--json {} https://a/", "POST"),
            ("-F a=b https://a/", "POST"),
            ("-X DELETE https://a/", "DELETE"),
            ("-sXPATCH -d x https://a/", "PATCH"),
            ("--request PUT --data x https://a/", "PUT"),
        ] {
            assert_eq!(plan(line).method, method, "{line}");
        }
    }

    #[test]
    fn what_could_send_twice_or_elsewhere_is_not_accepted() {
        for line in [
            "-L https://a/",
            "-sSL https://a/",
            "--location https://a/",
            "--loc https://a/",
            "--location-trusted https://a/",
            "--follow all https://a/",
            "--retry 3 https://a/",
            "https://a/ https://b/",
            "https://a/ --url https://b/",
            "https://a/ --next https://b/",
            "https://a/ -: https://b/",
            "-K file https://a/",
            "-Kfile https://a/",
            "--variable x=y https://a/",
            "--expand-url https://a/",
            "-Z https://a/",
            "https://a/{1,2}",
            "https://a/[1-3]",
            "https://{a,b}/",
            "-T {a,b} https://a/",
            "-T a -T b https://a/",
            "--digest -u u:p https://a/",
            "--anyauth -u u:p https://a/",
            "--libcurl out.c https://a/",
            "-OJ https://a/f",
            "-C - -o f https://a/f",
            "--no-clobber -o f https://a/f",
            "--frobnicate https://a/",
            "-? https://a/",
            "https://a/ -o",
            "-- https://a/ -L",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn our_own_headers_are_ours() {
        for header in ["Break-Glass: g-1", "break-glass-identity: x", "BREAK-GLASS:x"] {
            let words = ["-H".into(), header.into(), "https://a/".into()];
            assert_eq!(analyse(&words).unwrap_err().why, OURS, "{header}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("headers");
        std::fs::write(&file, "X-A: 1\nBreak-Glass: g-1\n").unwrap();
        let words = ["-H".into(), format!("@{}", file.display()).into(), "https://a/".into()];
        assert_eq!(analyse(&words).unwrap_err().why, OURS);
    }

    #[test]
    fn harmless_things_are_accepted() {
        for line in [
            "--retry 0 https://a/",
            "--no-location https://a/",
            "-g https://a/{1}",
            "https://[::1]:8443/x",
            "-sSf https://a/",
            "--max-time 5 https://a/",
            "-u user:pw https://a/",
            "-- https://a/",
        ] {
            assert_eq!(plan(line).method, "GET", "{line}");
        }
    }

    #[test]
    fn standard_input_is_noticed() {
        for line in [
            "-d @- https://a/",
            "-d@- https://a/",
            "--data-binary @- https://a/",
            "--data-urlencode x@- https://a/",
            "--json @- https://a/",
            "-T - https://a/",
            "-T . https://a/",
            "-F f=@-;type=text/plain https://a/",
            "-F f=<- https://a/",
            "-H @- https://a/",
        ] {
            assert!(plan(line).reads_stdin, "{line}");
        }
        for line in ["-d - https://a/", "--data-raw @- https://a/", "-d @file https://a/", "-T f- https://a/"] {
            assert!(!plan(line).reads_stdin, "{line}");
        }
    }

    #[test]
    fn where_the_body_goes() {
        for (line, to) in [
            ("https://a/x", BodyTo::Stdout),
            ("-o - https://a/x", BodyTo::Stdout),
            ("-o f https://a/x", BodyTo::File("f".into())),
            ("-of https://a/x", BodyTo::File("f".into())),
            ("-O https://a/b/x?q=1", BodyTo::File("x".into())),
            ("-O --output-dir d https://a/b/x", BodyTo::File("d/x".into())),
        ] {
            assert_eq!(plan(line).body_to, to, "{line}");
        }
    }

    #[test]
    fn the_rest_of_the_plan() {
        let plan = plan("-sifk -D h -w %{http_code} --trace-ascii t -- https://a/");
        assert!(plan.include_header && plan.fail && plan.insecure && plan.write_out && plan.traced);
        assert_eq!(plan.dump_header.as_deref(), Some("h"));
        assert_eq!(plan.options_end, 7, "further options go before --");
        assert_eq!(read("--version"), Ok(Analysis::Bare));
    }

    #[test]
    fn a_complaint_does_not_quote_values() {
        assert_eq!(read("--frob=secret https://a/").unwrap_err().what, "--frob");
    }
}
