//! The style of the code, kept by a test: layering, sizes, module docs, banned names and leftovers.
//!
//! Two tables, [`ROOMS`] and [`CRATES`], say who may import whom. Every violation is listed at once, as `file:line`.
//! It reads files only: what a macro of another crate expands to is not seen.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test root: a panic is its report")]

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use Imports::{Anything, Never, Only};

const LINES_MAX: usize = 400;
const BODY_LINES_MAX: usize = 70;
const BODY_LINES_MEDIAN_MAX: usize = 9;

/// What is let off, by file and rule, each with a comment that says why.
const EXCEPTIONS: &[(&str, Rule)] = &[
    // One match of one row a code: a table, whose length is the number of codes.
    ("src/sidecar/refusal_table.rs", Rule::BodySize),
    ("src/control/refusal.rs", Rule::BodySize),
];

const BANNED_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "manager"];

const PLANES: &[&str] = &["sidecar", "control", "store", "cli", "demo"];

/// Which room of `src/` may import which. The longest path that fits a file counts.
const ROOMS: &[(&str, Imports)] = &[
    ("domain", Only(&[])),
    ("decision", Only(&["domain"])),
    ("audit", Only(&["domain", "decision", "hex"])),
    ("ledger", Only(&["domain", "hex"])),
    ("report", Only(&["domain", "ledger", "wire"])),
    ("clock", Only(&["domain"])),
    ("secret", Only(&[])),
    ("drain", Never(PLANES)),
    ("error_chain", Only(&[])),
    ("hex", Only(&[])),
    ("jitter", Only(&[])),
    ("token", Never(PLANES)),
    ("identity", Never(PLANES)),
    ("wire", Never(PLANES)),
    ("http", Never(PLANES)),
    ("config", Never(PLANES)),
    ("policy", Only(&["domain", "config", "wire"])),
    ("certs", Only(&["domain", "http", "secret"])),
    // A server of the command line's own: it serves one person on their machine, and knows neither plane nor arguments.
    ("proxy", Only(&["clock", "domain", "error_chain", "http", "secret", "token", "unix_socket", "wire"])),
    ("unix_socket", Only(&[])),
    ("whole_file", Only(&[])),
    ("telemetry", Never(PLANES)),
    ("sink", Never(PLANES)),
    ("witness", Never(PLANES)),
    ("store", Never(&["sidecar", "control", "cli", "demo"])),
    ("sidecar", Never(&["store", "control", "cli", "demo"])),
    ("control", Never(&["sidecar", "cli", "demo"])),
    ("cli", Never(&["sidecar", "control", "store"])),
    ("demo", Anything),
    ("bin/breakglass-sidecar", Never(&["store", "control", "cli", "demo"])),
    ("bin/breakglass-control", Never(&["sidecar", "cli", "demo"])),
    ("bin/breakglass", Never(&["sidecar", "control", "store"])),
    ("lib", Only(&[])),
];

/// Which rooms ship code that names a crate of others. A crate that is not here may be used anywhere.
const CRATES: &[(&str, &[&str])] = &[
    ("hyper", &["sidecar", "control", "http", "proxy", "demo", "telemetry", "witness"]),
    ("hyper_util", &["sidecar", "control", "http", "proxy", "demo", "telemetry", "witness"]),
    ("axum", &["control", "demo"]),
    ("calcard", &["config", "control"]),
    // The product's own times are those of the domain: calendars alone need zones and weeks, and typed dates a reader.
    ("chrono", &["cli", "control"]),
    ("sqlx", &["store"]),
    ("askama", &["report"]),
    ("csv", &["report", "control"]),
    ("dashmap", &["sidecar"]),
    ("clap", &["cli", "bin"]),
    ("x509_parser", &["telemetry"]),
    // Only under the feature `control`: the sidecar and the command line describe nothing.
    ("utoipa", &["control", "wire", "domain"]),
    ("utoipa_axum", &["control"]),
];

enum Imports {
    Anything,
    Only(&'static [&'static str]),
    Never(&'static [&'static str]),
}

impl Imports {
    fn allow(&self, room: &str) -> bool {
        match self {
            Anything => true,
            Only(list) => list.contains(&room),
            Never(list) => !list.contains(&room),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Layering,
    FileSize,
    BodySize,
    ModuleDocs,
    Name,
    Leftover,
    WallClock,
    Document,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Violation {
    file: String,
    line: usize,
    rule: Rule,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {:?}: {}", self.file, self.line, self.rule, self.what)
    }
}

/// One Rust file, parsed.
struct Source {
    /// From the package's root, with `/`.
    file: String,
    text: String,
    syntax: syn::File,
    /// First and last line of each item under `#[cfg(test)]`.
    test_spans: Vec<(usize, usize)>,
}

impl Source {
    fn parse(file: &str, text: &str) -> Self {
        let syntax = syn::parse_file(text).unwrap_or_else(|e| panic!("{file}:{}: {e}", e.span().start().line));
        let test_spans = test_spans(&syntax);
        Self { file: file.to_owned(), text: text.to_owned(), syntax, test_spans }
    }

    fn violation(&self, line: usize, rule: Rule, what: String) -> Violation {
        Violation { file: self.file.clone(), line, rule, what }
    }

    fn is_shipped(&self, line: usize) -> bool {
        !self.test_spans.iter().any(|(first, last)| (*first..=*last).contains(&line))
    }

    fn is_in_src(&self) -> bool {
        self.file.starts_with("src/")
    }

    /// The module this file is, such as `["sidecar", "route"]`; empty for `src/lib.rs`.
    fn module(&self) -> Vec<String> {
        let path = self.file.trim_start_matches("src/").trim_end_matches(".rs");
        let path = path.strip_suffix("/mod").unwrap_or(path);
        if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
    }

    /// The file's row in [`ROOMS`].
    fn row(&self) -> Option<&'static (&'static str, Imports)> {
        let path = match self.module().join("/") {
            root if root.is_empty() => "lib".to_owned(),
            path => path,
        };
        let fits = |room: &str| path == room || path.strip_prefix(room).is_some_and(|rest| rest.starts_with('/'));
        ROOMS.iter().filter(|(room, _)| fits(room)).max_by_key(|(room, _)| room.len())
    }
}

fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    let is_test = |a: &syn::Attribute| a.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test");
    attributes.iter().any(|a| a.path().is_ident("cfg") && is_test(a))
}

fn test_spans(syntax: &syn::File) -> Vec<(usize, usize)> {
    struct Finder(Vec<(usize, usize)>);
    impl<'a> Visit<'a> for Finder {
        fn visit_item(&mut self, item: &'a syn::Item) {
            let attributes = match item {
                syn::Item::Mod(i) => &i.attrs,
                syn::Item::Fn(i) => &i.attrs,
                syn::Item::Impl(i) => &i.attrs,
                syn::Item::Use(i) => &i.attrs,
                syn::Item::Const(i) => &i.attrs,
                syn::Item::Struct(i) => &i.attrs,
                _ => return visit::visit_item(self, item),
            };
            match is_test_only(attributes) {
                true => self.0.push((item.span().start().line, item.span().end().line)),
                false => visit::visit_item(self, item),
            }
        }
    }
    let mut finder = Finder(Vec::new());
    finder.visit_file(syntax);
    finder.0
}

// ---- layering ----

/// One path in the code, with the names it was resolved to.
struct Mention {
    segments: Vec<String>,
    line: usize,
}

impl Mention {
    /// The room of ours that the path leads into.
    fn room(&self) -> Option<&str> {
        let (first, rest) = self.segments.split_first()?;
        matches!(first.as_str(), "crate" | "breakglass").then(|| rest.first().map(String::as_str)).flatten()
    }

    /// True for a path into the crate `name`; its bare name may be anything.
    fn is_of(&self, name: &str) -> bool {
        self.segments.len() > 1 && self.segments.first().is_some_and(|first| first == name)
    }
}

/// Collects every path of a token stream, macro bodies included, with `super` and `self` resolved.
struct PathScan {
    module: Vec<String>,
    found: Vec<Mention>,
}

impl PathScan {
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at = match token {
                TokenTree::Group(group) => {
                    self.scan_group(&tokens, at, group);
                    at + 1
                }
                TokenTree::Ident(_) if !is_punct(&tokens, at.wrapping_sub(1), '.') => self.path(&tokens, at, &[]),
                _ => at + 1,
            };
        }
    }

    /// A `mod name { … }` is one module deeper.
    fn scan_group(&mut self, tokens: &[TokenTree], at: usize, group: &proc_macro2::Group) {
        let name = at.checked_sub(1).and_then(|i| ident(tokens, i));
        let is_module = at.checked_sub(2).and_then(|i| ident(tokens, i)).is_some_and(|word| word == "mod");
        match name.filter(|_| is_module && group.delimiter() == Delimiter::Brace) {
            Some(name) => {
                self.module.push(name);
                self.scan(group.stream());
                self.module.pop();
            }
            None => self.scan(group.stream()),
        }
    }

    /// Reads `a::b::{c, d::e}` from `at` on; returns where it ends.
    fn path(&mut self, tokens: &[TokenTree], mut at: usize, prefix: &[String]) -> usize {
        let mut segments = prefix.to_vec();
        let line = tokens.get(at).map_or(0, |token| token.span().start().line);
        while let Some(name) = ident(tokens, at) {
            segments.push(name);
            at += 1;
            if !(is_punct(tokens, at, ':') && is_punct(tokens, at + 1, ':')) {
                break;
            }
            at += 2;
            if let Some(TokenTree::Group(group)) = tokens.get(at) {
                self.branches(group.stream(), &segments);
                return at + 1;
            }
        }
        self.found.push(Mention { segments: self.resolve(segments), line });
        at.max(1)
    }

    fn branches(&mut self, tokens: TokenStream, prefix: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for branch in tokens.split(|token| matches!(token, TokenTree::Punct(p) if p.as_char() == ',')) {
            if !branch.is_empty() {
                self.path(branch, 0, prefix);
            }
        }
    }

    fn resolve(&self, segments: Vec<String>) -> Vec<String> {
        let mut here = self.module.clone();
        let mut rest = segments.iter().peekable();
        let is_relative = matches!(segments.first().map(String::as_str), Some("super" | "self"));
        if !is_relative {
            return segments;
        }
        while let Some(word) = rest.next_if(|word| matches!(word.as_str(), "super" | "self")) {
            if word == "super" {
                here.pop();
            }
        }
        std::iter::once("crate".to_owned()).chain(here).chain(rest.cloned()).collect()
    }
}

fn ident(tokens: &[TokenTree], at: usize) -> Option<String> {
    match tokens.get(at)? {
        TokenTree::Ident(name) => Some(name.to_string()),
        _ => None,
    }
}

fn is_punct(tokens: &[TokenTree], at: usize, mark: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == mark)
}

fn layering(source: &Source) -> Vec<Violation> {
    let Some((room, imports)) = source.row() else {
        return vec![source.violation(1, Rule::Layering, "this room has no row in ROOMS (tests/tidy.rs)".to_owned())];
    };
    let mut scan = PathScan { module: source.module(), found: Vec::new() };
    scan.scan(source.text.parse().unwrap());
    let own = room.split('/').next();
    let is_known = |name: &str| ROOMS.iter().any(|(room, _)| *room == name);
    let mut violations = Vec::new();
    for mention in &scan.found {
        let target = mention.room().filter(|target| is_known(target) && Some(*target) != own);
        if let Some(target) = target.filter(|target| !imports.allow(target)) {
            violations.push(source.violation(mention.line, Rule::Layering, format!("`{room}` imports `{target}`")));
        }
        let named = CRATES.iter().find(|(name, _)| mention.is_of(name));
        let ships =
            named.filter(|(_, rooms)| source.is_shipped(mention.line) && !rooms.iter().any(|r| Some(*r) == own));
        if let Some((name, rooms)) = ships {
            let what = format!("`{room}` uses the crate `{name}`, which stops at {}", rooms.join(", "));
            violations.push(source.violation(mention.line, Rule::Layering, what));
        }
    }
    violations
}

/// A re-export at the root would be a way around [`ROOMS`].
fn root_only_declares(source: &Source) -> Vec<Violation> {
    let is_root = source.file == "src/lib.rs";
    let foreign = source.syntax.items.iter().filter(|item| is_root && !matches!(item, syn::Item::Mod(_)));
    let what = "the root declares rooms and holds nothing itself";
    foreign.map(|item| source.violation(item.span().start().line, Rule::Layering, what.to_owned())).collect()
}

// ---- sizes ----

fn file_size(source: &Source) -> Vec<Violation> {
    let lines = (1..=source.text.lines().count()).filter(|line| source.is_shipped(*line)).count();
    let what = format!("{lines} lines without tests, at most {LINES_MAX}");
    if lines > LINES_MAX { vec![source.violation(1, Rule::FileSize, what)] } else { Vec::new() }
}

/// A function's name, line and the number of lines inside its braces.
#[derive(Debug)]
struct Body {
    name: String,
    line: usize,
    lines: usize,
}

fn bodies(source: &Source) -> Vec<Body> {
    struct Finder(Vec<Body>);
    impl Finder {
        fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
            let (first, last) = (block.span().start().line, block.span().end().line);
            let lines = (last - first).saturating_sub(1).max(1);
            self.0.push(Body { name: signature.ident.to_string(), line: signature.span().start().line, lines });
        }
    }
    impl<'a> Visit<'a> for Finder {
        fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
            self.add(&item.sig, &item.block);
            visit::visit_item_fn(self, item);
        }
        fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
            self.add(&item.sig, &item.block);
            visit::visit_impl_item_fn(self, item);
        }
        fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
            if let Some(block) = &item.default {
                self.add(&item.sig, block);
            }
            visit::visit_trait_item_fn(self, item);
        }
    }
    let mut finder = Finder(Vec::new());
    finder.visit_file(&source.syntax);
    finder.0.retain(|body| source.is_shipped(body.line));
    finder.0
}

fn body_sizes(source: &Source) -> Vec<Violation> {
    let long = bodies(source).into_iter().filter(|body| body.lines > BODY_LINES_MAX);
    long.map(|body| {
        let what = format!("`{}` has {} lines, at most {BODY_LINES_MAX}", body.name, body.lines);
        source.violation(body.line, Rule::BodySize, what)
    })
    .collect()
}

fn median(mut values: Vec<usize>) -> usize {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

// ---- words ----

fn module_docs(source: &Source) -> Vec<Violation> {
    let opens = source.text.lines().next().is_some_and(|line| line.starts_with("//! "));
    let what = "the file must open with `//!`: what it is for, what it must never do, its source";
    if opens { Vec::new() } else { vec![source.violation(1, Rule::ModuleDocs, what.to_owned())] }
}

fn names(source: &Source) -> Vec<Violation> {
    struct Finder(Vec<(String, usize)>);
    impl<'a> Visit<'a> for Finder {
        fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
            self.0.push((item.ident.to_string(), item.ident.span().start().line));
            visit::visit_item_mod(self, item);
        }
    }
    let mut finder = Finder(source.module().into_iter().map(|name| (name, 1)).collect());
    finder.visit_file(&source.syntax);
    let banned = finder.0.into_iter().filter(|(name, _)| BANNED_NAMES.contains(&name.as_str()));
    banned
        .map(|(name, line)| source.violation(line, Rule::Name, format!("a module named `{name}` says nothing")))
        .collect()
}

/// What must not be left in the code. Cut in two, so that this file does not name them.
fn leftovers(source: &Source) -> Vec<Violation> {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut marks =
        vec![concat!("todo", "!("), concat!("unimplemented", "!("), concat!("#[", "allow("), concat!("#[", "ignore")];
    if source.is_in_src() {
        marks.push(concat!("#![", "allow("));
    }
    let found = |line: &str| {
        let mut tokens = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        let word = tokens.find(|token| words.contains(token)).map(str::to_owned);
        word.or_else(|| marks.iter().find(|mark| line.contains(**mark)).map(ToString::to_string))
    };
    let lines = source.text.lines().enumerate();
    lines
        .filter_map(|(at, line)| Some(source.violation(at + 1, Rule::Leftover, format!("`{}`", found(line)?))))
        .collect()
}

fn wall_clock(source: &Source) -> Vec<Violation> {
    let is_clock = source.file == "src/clock.rs";
    let reads = source.text.lines().enumerate().filter(|(_, line)| !is_clock && line.contains("SystemTime::now"));
    let what = "clocks are read in src/clock.rs only";
    reads.map(|(at, _)| source.violation(at + 1, Rule::WallClock, what.to_owned())).collect()
}

// ---- documents ----

/// Relative links of a Markdown text, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for rest in line.split("](").skip(1) {
            let target = rest.split([')', '#', ' ']).next().unwrap_or("");
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push((at + 1, target.to_owned()));
            }
        }
    }
    found
}

fn dead_links(root: &Path, file: &str, text: &str) -> Vec<Violation> {
    let folder = root.join(file).parent().unwrap().to_owned();
    let dead = links(text).into_iter().filter(|(_, target)| !folder.join(target).exists());
    dead.map(|(line, target)| Violation {
        file: file.to_owned(),
        line,
        rule: Rule::Document,
        what: format!("the link `{target}` leads nowhere"),
    })
    .collect()
}

// ---- the tree ----

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `folder` whose names end with `ending`, in a stable order.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root().join(folder)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let deeper = |path: PathBuf| match path.is_dir() {
        true => files(path.to_str().unwrap(), ending),
        false => vec![path],
    };
    paths.into_iter().flat_map(deeper).filter(|path| path.to_str().unwrap().ends_with(ending)).collect()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/")
}

fn read(paths: Vec<PathBuf>) -> Vec<Source> {
    paths.into_iter().map(|path| Source::parse(&relative(&path), &fs::read_to_string(&path).unwrap())).collect()
}

/// The files of `src/` that ship: a `#[cfg(test)] mod name;` makes `name.rs` a test.
fn shipped() -> Vec<Source> {
    let sources = read(files("src", ".rs"));
    assert!(sources.len() > 10, "src/ was found");
    let mut tests = Vec::new();
    for source in &sources {
        let modules = source.syntax.items.iter().filter_map(|item| match item {
            syn::Item::Mod(item) if item.content.is_none() && is_test_only(&item.attrs) => Some(item.ident.to_string()),
            _ => None,
        });
        tests.extend(modules.map(|name| [source.module(), vec![name]].concat()));
    }
    sources.into_iter().filter(|source| !tests.iter().any(|test| source.module().starts_with(test))).collect()
}

fn everything() -> Vec<Source> {
    read([files("src", ".rs"), files("tests", ".rs"), files("benches", ".rs")].concat())
}

fn check(violations: impl Iterator<Item = Violation>) {
    let open = violations.filter(|v| !EXCEPTIONS.contains(&(v.file.as_str(), v.rule)));
    let lines: Vec<String> = open.map(|v| format!("  {v}")).collect();
    assert!(lines.is_empty(), "{} violations:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn rooms_import_only_what_the_tables_allow() {
    check(shipped().iter().flat_map(|source| [layering(source), root_only_declares(source)].concat()));
}

#[test]
fn files_and_functions_are_short() {
    let sources = shipped();
    check(sources.iter().flat_map(|source| [file_size(source), body_sizes(source)].concat()));
    let median = median(sources.iter().flat_map(bodies).map(|body| body.lines).collect());
    assert!(median <= BODY_LINES_MEDIAN_MAX, "half of all functions have {median} lines or more");
}

#[test]
fn files_open_with_their_purpose() {
    check(shipped().iter().flat_map(module_docs));
}

#[test]
fn modules_have_names_that_say_something() {
    check(everything().iter().flat_map(names));
}

#[test]
fn nothing_is_left_over() {
    check(everything().iter().flat_map(leftovers));
}

#[test]
fn the_wall_clock_is_read_in_one_place() {
    check(read(files("src", ".rs")).iter().flat_map(wall_clock));
}

#[test]
fn links_in_documents_lead_somewhere() {
    let top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "certs/README.md"].map(|name| root().join(name));
    let documents = [top.to_vec(), files("docs", ".md")].concat();
    check(documents.iter().flat_map(|path| dead_links(&root(), &relative(path), &fs::read_to_string(path).unwrap())));
}

#[test]
fn every_example_of_configuration_is_mentioned() {
    let documents = [vec![root().join("README.md")], files("docs", ".md")].concat();
    let text: String = documents.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    // By its own name, or by that of its folder.
    let folder = |name: &str| name.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).filter(|f| f != "config/");
    let is_told = |name: &String| text.contains(name) || folder(name).is_some_and(|folder| text.contains(&folder));
    let examples = [files("config", ".toml"), files("config", ".yml")].concat();
    let names: Vec<String> = examples.iter().map(|path| relative(path)).collect();
    let unknown: Vec<&str> = names.iter().filter(|name| !is_told(name)).map(String::as_str).collect();
    assert!(unknown.is_empty(), "neither README.md nor docs/ mentions {}", unknown.join(", "));
}

// ---- the checks themselves ----

/// The lines of `text`, as the file `file`, that a check objects to.
fn caught(check: fn(&Source) -> Vec<Violation>, file: &str, text: &str) -> Vec<usize> {
    check(&Source::parse(file, text)).iter().map(|violation| violation.line).collect()
}

#[test]
fn a_forbidden_import_is_caught_in_every_spelling() {
    for line in [
        "use crate::store::Store;",
        "use crate::{domain::Grant, store::Store};",
        "use crate::{domain::{self, Grant}, store::{self}};",
        "use super::super::store;",
        "use super::super::{store as s};",
        "pub use breakglass::store::*;",
        "fn f() { let _ = crate::store::open(); }",
        "macro_rules! m { () => { $crate::store::open() } }",
        "fn f() { println!(\"{}\", crate::store::NAME); }",
        "mod inner { use super::super::super::store::Store; }",
        "#[derive(crate::store::Row)] struct S;",
    ] {
        assert_eq!(caught(layering, "src/sidecar/route.rs", &format!("//! x\n{line}\n")), [2], "{line}");
    }
}

#[test]
fn an_allowed_import_is_not_caught() {
    for line in [
        "use crate::domain::Grant;",
        "use super::intake::Taken;",
        "use self::store::Shelf; mod store {}",
        "use http::header::HeaderName;",
        "fn f() { self.store.get(); shelf::store::get(); }",
        "mod tests { use super::super::intake; }",
        "/// See `crate::store::Store`.\nstruct S;",
        "use hyper::Request;",
    ] {
        assert_eq!(caught(layering, "src/sidecar/route.rs", line), Vec::<usize>::new(), "{line}");
    }
}

#[test]
fn rooms_are_held_to_their_rows() {
    let imports = "use crate::domain::Grant;\nuse crate::decision::Permit;\nuse crate::clock::Clock;\n";
    assert_eq!(caught(layering, "src/domain/grant.rs", imports), [2, 3]);
    assert_eq!(caught(layering, "src/decision/mod.rs", imports), [3]);
    assert_eq!(caught(layering, "src/audit/chain.rs", imports), [3]);
    assert_eq!(caught(layering, "src/ledger/tree.rs", imports), [2, 3]);
    assert_eq!(caught(layering, "src/wire/mod.rs", imports), Vec::<usize>::new());
    let planes = "use crate::sidecar::A;\nuse crate::control::B;\nuse crate::cli::C;\nuse crate::demo::D;\n";
    assert_eq!(caught(layering, "src/sidecar/mod.rs", planes), [2, 3, 4]);
    assert_eq!(caught(layering, "src/control/mod.rs", planes), [1, 3, 4]);
    assert_eq!(caught(layering, "src/cli/mod.rs", planes), [1, 2]);
    assert_eq!(caught(layering, "src/token/mod.rs", planes), [1, 2, 3, 4]);
    assert_eq!(caught(layering, "src/demo/mod.rs", planes), Vec::<usize>::new());
    assert_eq!(caught(layering, "src/bin/breakglass-control.rs", planes), [1, 3, 4]);
    assert_eq!(caught(layering, "src/attic/mod.rs", "//! A room without a row.\n"), [1]);
    assert_eq!(caught(root_only_declares, "src/lib.rs", "pub mod domain;\npub use domain::Grant;\n"), [2]);
}

#[test]
fn a_crate_beyond_its_rooms_is_caught_unless_in_a_test() {
    let text = "use sqlx::Row;\n#[cfg(test)]\nmod tests {\n    use sqlx::Row;\n}\nfn f() { ::sqlx::query(\"\") }\n";
    assert_eq!(caught(layering, "src/control/mod.rs", text), [1, 6]);
    assert_eq!(caught(layering, "src/store/sqlite.rs", text), Vec::<usize>::new());
    assert_eq!(caught(layering, "src/cli/mod.rs", "use hyper::Request;\n#[derive(clap::Parser)]\nstruct S;\n"), [1]);
    assert_eq!(caught(layering, "src/telemetry/admin.rs", "use hyper_util::rt::TokioIo;\n"), Vec::<usize>::new());
}

#[test]
fn length_counts_shipped_lines_only() {
    let long = "// line\n".repeat(LINES_MAX);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    // test\n".repeat(50));
    assert_eq!(caught(file_size, "src/a.rs", &format!("{long}{tests}")), Vec::<usize>::new());
    assert_eq!(caught(file_size, "src/a.rs", &format!("{long}// one more\n{tests}")), [1]);
    let function =
        |lines: usize| format!("struct S;\nimpl S {{\n    fn f() {{\n{}    }}\n}}\n", "    ;\n".repeat(lines));
    assert_eq!(caught(body_sizes, "src/a.rs", &function(BODY_LINES_MAX)), Vec::<usize>::new());
    assert_eq!(caught(body_sizes, "src/a.rs", &function(BODY_LINES_MAX + 1)), [3]);
    assert_eq!(median(vec![30, 1, 2]), 2);
}

#[test]
fn words_are_caught() {
    assert_eq!(caught(module_docs, "src/a.rs", "// no purpose\n"), [1]);
    assert_eq!(caught(module_docs, "src/a.rs", "//! A purpose.\n"), Vec::<usize>::new());
    assert_eq!(caught(names, "src/common/mod.rs", "//! x\nmod helpers {}\n"), [1, 2]);
    let now = "fn f() {\n    std::time::SystemTime::now();\n}\n";
    assert_eq!(caught(wall_clock, "src/a.rs", now), [2]);
    assert_eq!(caught(wall_clock, "src/clock.rs", now), Vec::<usize>::new());
    let left = [
        concat!("// TO", "DO: later"),
        concat!("fn f() { todo", "!() }"),
        concat!("#[", "ignore] fn g() {}"),
        concat!("#[", "allow(dead_code)] fn h() {}"),
        concat!("#![", "allow(dead_code)]"),
    ];
    for line in left {
        assert_eq!(caught(leftovers, "src/a.rs", &format!("{line}\n")), [1], "{line}");
    }
    let root = concat!("#![", "allow(dead_code, reason = \"a test root\")]\n");
    assert_eq!(caught(leftovers, "tests/a.rs", root), Vec::<usize>::new());
}

#[test]
fn dead_links_are_caught() {
    let text = "[a](README.md)\n[b](docs/nowhere.md#x) and [c](https://example.org/)\n[d](#here)\n";
    let lines: Vec<usize> = dead_links(&root(), "CONTRIBUTING.md", text).iter().map(|v| v.line).collect();
    assert_eq!(lines, [2]);
}
