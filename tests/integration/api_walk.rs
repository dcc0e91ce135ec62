//! Every operation that the API's document has, called by those who may not: nobody, a forger, a machine, a stranger.
//!
//! It knows no operation by name. Paths, parameters and bodies are filled from the document's own examples, and what
//! [`Seeds`] knows stands for things that exist and are somebody's; so an operation that is added is walked too. Each
//! answer is held against the document by tests/openapi/validate.py.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use breakglass::http::Answer;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};

use crate::harness::Site;
use crate::tool;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "patch", "head", "options", "trace"];
/// Who has no right to anything.
const STRANGER: &str = "erin";
/// What stands in what alice has asked for, and is nobody else's to read.
const TICKET: &str = "INC-777001";
const RESOURCE: &str = "contract/C-1042";

/// What stands for a schema of the document, by its name: what exists, where the site has one.
type Seeds = BTreeMap<&'static str, String>;

struct Operation {
    path: String,
    method: Method,
    described: Value,
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn is_open(&self) -> bool {
        self.described["security"] == json!([])
    }

    /// For machines of the configuration, with a scheme of their own.
    fn is_for_machines(&self) -> bool {
        self.described["security"].as_array().is_some_and(|schemes| !schemes.is_empty())
    }

    fn changes(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD)
    }
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, described) in item.as_object().unwrap() {
            if METHODS.contains(&method.as_str()) {
                let method = method.to_uppercase().parse().unwrap();
                all.push(Operation { path: path.clone(), method, described: described.clone() });
            }
        }
    }
    // What ends something comes last.
    all.sort_by_key(Operation::changes);
    all
}

/// A value that fits the schema: a seed, an example, or the least there is.
fn fill(schema: &Value, document: &Value, seeds: &Seeds) -> Value {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        let seed = seeds.get(name).map(|seed| Value::from(seed.as_str()));
        return seed.unwrap_or_else(|| fill(&document["components"]["schemas"][name], document, seeds));
    }
    if let Some(members) = schema["properties"].as_object() {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let wanted = members.iter().filter(|(name, _)| required.contains(&name.as_str()));
        return wanted.map(|(name, member)| (name.clone(), fill(member, document, seeds))).collect();
    }
    if let Some(example) = schema.get("example").or_else(|| schema.pointer("/examples/0")) {
        return example.clone();
    }
    let first = schema.pointer("/enum/0").or_else(|| schema.pointer("/oneOf/0")).or_else(|| schema.pointer("/anyOf/0"));
    if let Some(first) = first {
        return if first.is_object() { fill(first, document, seeds) } else { first.clone() };
    }
    match schema["type"].as_str() {
        Some("array") => json!([fill(&schema["items"], document, seeds)]),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(false),
        Some("object") => json!({}),
        _ => json!("x"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A request that is whole: what it is refused for is who asks.
fn request(operation: &Operation, document: &Value, seeds: &Seeds) -> (String, HeaderMap, Bytes) {
    let (mut path, mut query, mut headers) = (operation.path.clone(), Vec::new(), HeaderMap::new());
    for parameter in operation.described["parameters"].as_array().into_iter().flatten() {
        let shared = parameter["$ref"].as_str().and_then(|reference| document.pointer(&reference[1..]));
        let parameter = shared.unwrap_or(parameter);
        let name = parameter["name"].as_str().unwrap();
        let example = parameter.get("example").cloned();
        let value = text(&example.unwrap_or_else(|| fill(&parameter["schema"], document, seeds)));
        match (parameter["in"].as_str().unwrap(), parameter["required"] == true) {
            ("path", _) => path = path.replace(&format!("{{{name}}}"), &value),
            ("query", true) => query.push(format!("{name}={value}")),
            ("header", true) => {
                headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
            }
            _ => {}
        }
    }
    assert!(!path.contains('{'), "{}: a parameter of the path is not described", operation.name());
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let schema = operation.described.pointer("/requestBody/content/application~1json/schema");
    let body = schema.map(|schema| fill(schema, document, seeds).to_string()).unwrap_or_default();
    if !body.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    (path, headers, body.into())
}

/// A site with something to see, the document it serves, and every answer it gave.
struct Walk {
    site: Site,
    document: Value,
    seeds: Seeds,
    answers: std::cell::RefCell<String>,
}

impl Walk {
    async fn start() -> Self {
        let site = Site::start().await;
        let answer = site.call(Method::GET, "/v1/openapi.json", HeaderMap::new(), Bytes::new()).await;
        assert_eq!(answer.status, 200);
        let document = answer.json().unwrap();
        let mut seeds = Seeds::from([
            ("ServiceName", "payments".to_owned()),
            ("Resource", RESOURCE.to_owned()),
            ("Action", "payment.release".to_owned()),
            ("ReasonCode", "stuck_payment".to_owned()),
            ("Ticket", TICKET.to_owned()),
        ]);
        let asked = json!({"service": "payments", "resources": [RESOURCE], "actions": ["payment.release"],
            "reason": "stuck_payment", "ticket": TICKET, "duration_s": 600});
        let (status, made) = site.api(Method::POST, "/v1/elevations", "alice", asked).await;
        assert_eq!(status, 201, "{made}");
        seeds.insert("ElevationId", text(&made["id"]));
        seeds.insert("GrantId", text(&made["grant"]["id"]));
        seeds.insert("Person", "alice".to_owned());
        Self { site, document, seeds, answers: std::cell::RefCell::default() }
    }

    async fn ask(&self, operation: &Operation, token: Option<&str>) -> Answer {
        let (path, mut headers, body) = request(operation, &self.document, &self.seeds);
        if let Some(token) = token {
            let mut bearer = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
            bearer.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, bearer);
        }
        let answer = self.site.call(operation.method.clone(), &path, headers, body).await;
        let kind = answer.headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap());
        let line = json!({
            "method": operation.method.as_str(), "path": operation.path, "status": answer.status.as_u16(),
            "content_type": kind, "body": answer.json::<Value>().ok(),
        });
        *self.answers.borrow_mut() += &format!("{line}\n");
        answer
    }

    /// Asks, and is refused with one of these; the problem's code.
    async fn refused(&self, operation: &Operation, token: Option<&str>, statuses: &[u16]) -> String {
        let answer = self.ask(operation, token).await;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(statuses.contains(&answer.status.as_u16()), "{}: {} {said}", operation.name(), answer.status);
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json", "{}", operation.name());
        self.says_nothing(operation, &answer);
        text(&answer.json::<Value>().unwrap()["code"])
    }

    /// Nothing of what alice has is in the answer, but what the caller has named.
    fn says_nothing(&self, operation: &Operation, answer: &Answer) {
        let said = String::from_utf8_lossy(&answer.body);
        for known in ["alice", TICKET, RESOURCE, &self.seeds["GrantId"], &self.seeds["ElevationId"]] {
            assert!(!said.contains(known), "{}: {known} is in {said}", operation.name());
        }
    }

    /// Has the document and all answers validated.
    fn validate(&self) {
        let folder = self.site.path();
        let write = |name: &str, text: &str| -> PathBuf {
            let file = folder.join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        let files = [write("openapi.json", &self.document.to_string()), write("answers.jsonl", &self.answers.borrow())];
        let mut command = Command::new(tool("tests/run's Python", "target/venv/bin/python"));
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi/validate.py")).args(files);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_refuses_who_may_not_and_answers_as_described() {
    let walk = Walk::start().await;
    let machine = walk.site.issuer.machine_token().unwrap().expose().clone();
    let forged = format!("{}x", walk.site.identity("carol"));
    let stranger = walk.site.identity(STRANGER);
    let all = operations(&walk.document);
    assert!(all.len() > 5, "operations were found");
    for operation in &all {
        if operation.is_open() {
            assert!(walk.ask(operation, None).await.status.is_success(), "{}", operation.name());
            continue;
        }
        if operation.is_for_machines() {
            for token in [None, Some(stranger.as_str())] {
                let answer = walk.ask(operation, token).await;
                assert!(answer.status.is_client_error(), "{}: {}", operation.name(), answer.status);
                walk.says_nothing(operation, &answer);
            }
            continue;
        }
        assert_eq!(walk.refused(operation, None, &[401]).await, "identity_missing", "{}", operation.name());
        for garbage in ["garbage", forged.as_str()] {
            let code = walk.refused(operation, Some(garbage), &[401]).await;
            assert_eq!(code, "identity_invalid", "{}", operation.name());
        }
        assert_eq!(walk.refused(operation, Some(&machine), &[403]).await, "human_required", "{}", operation.name());
        if operation.changes() {
            walk.refused(operation, Some(&stranger), &[403, 404]).await;
            continue;
        }
        let answer = walk.ask(operation, Some(&stranger)).await;
        assert!(matches!(answer.status.as_u16(), 200 | 403 | 404), "{}: {}", operation.name(), answer.status);
        walk.says_nothing(operation, &answer);
        let document: Value = answer.json().unwrap();
        if let Some(items) = document.get("items") {
            assert_eq!(items, &json!([]), "{}: a stranger has nothing", operation.name());
        }
    }
    // The same by those who may, so that what is described of success is true as well.
    for person in ["dave", "alice", "carol"] {
        let token = walk.site.identity(person);
        for operation in all.iter().filter(|operation| !operation.is_open() && !operation.is_for_machines()) {
            assert!(!walk.ask(operation, Some(&token)).await.status.is_server_error(), "{}", operation.name());
        }
    }
    walk.validate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_described_is_what_is_served() {
    let walk = Walk::start().await;
    let mut described: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for operation in operations(&walk.document) {
        let methods = described.entry(operation.path.clone()).or_default();
        methods.insert(operation.method.to_string());
        if operation.method == Method::GET {
            methods.insert("HEAD".to_owned());
        }
    }
    let all = operations(&walk.document);
    for (path, methods) in described {
        let operation = all.iter().find(|operation| operation.path == path).unwrap();
        let (target, _, _) = request(operation, &walk.document, &walk.seeds);
        let answer = walk.site.call(Method::OPTIONS, &target, HeaderMap::new(), Bytes::new()).await;
        assert_eq!(answer.status, 204, "{path}");
        let allowed = answer.headers[header::ALLOW].to_str().unwrap();
        let allowed: BTreeSet<String> = allowed.split(',').map(|method| method.trim().to_owned()).collect();
        assert_eq!(allowed, methods, "{path}");
        let refused = walk.site.call(Method::DELETE, &target, HeaderMap::new(), Bytes::new()).await;
        if !allowed.contains("DELETE") {
            assert_eq!(
                (refused.status.as_u16(), &refused.headers[header::ALLOW]),
                (405, &answer.headers[header::ALLOW])
            );
            assert_eq!(refused.json::<Value>().unwrap()["code"], "method_not_allowed");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_prints_what_is_served() {
    let site = Site::start().await;
    let served = site.call(Method::GET, "/v1/openapi.json", HeaderMap::new(), Bytes::new()).await;
    let printed = Command::new(env!("CARGO_BIN_EXE_breakglass-control")).arg("openapi").output().unwrap();
    assert!(printed.status.success());
    assert_eq!(served.body, printed.stdout);
    let mut seen = HeaderMap::new();
    seen.insert(header::IF_NONE_MATCH, served.headers[header::ETAG].clone());
    let again = site.call(Method::GET, "/v1/openapi.json", seen, Bytes::new()).await;
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    assert_eq!(again.headers[header::CACHE_CONTROL], "no-cache", "it is public");
}

/// A router takes routes of any kind; the API's are all added by [`breakglass::control::openapi`], which wants them
/// described. The admin port and the feed's listener are not part of the API.
#[test]
fn no_route_is_added_past_the_document() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control")];
    let mut looked_at = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            // The ledger's resources are in a format of others; docs/ledger.md describes them.
            if path.ends_with("control/admin.rs") || path.ends_with("control/ledger/serve.rs") {
                continue;
            }
            looked_at += 1;
            let code = std::fs::read_to_string(&path).unwrap().replace(".merge(serve_ledger::router()", "");
            for past in [".route(", ".route_service(", ".nest(", ".merge(", ".nest_service("] {
                assert!(!code.contains(past), "{}: {past}", path.display());
            }
        }
    }
    assert!(looked_at > 20, "files were found");
}
