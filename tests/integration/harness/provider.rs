//! A certified OpenID provider (npm `oidc-provider`, tests/provider) as a child process on the loopback.
//!
//! It is told what to do over its standard input and ends with it. What it gives out is fetched by [`Browser`].

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use breakglass::http::{Client, ClientTls, Limits, TlsRoots};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::PATIENCE;
use super::signing_in::{Browser, Tokens, Wish};

const AUDIENCES: [&str; 3] = ["control", "payments", "ledger"];

/// How the provider starts.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Of its keys: "ES256", "RS256" or "EdDSA".
    pub(crate) alg: &'static str,
    /// How long an access token holds.
    pub(crate) access_token_s: u64,
    /// Its own redirect URIs, beside those on any port of the loopback with the path `/callback`.
    pub(crate) redirect_uris: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { alg: "ES256", access_token_s: 3_600, redirect_uris: Vec::new() }
    }
}

/// See the module. Killed when dropped. Clones are the same provider.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) issuer: String,
    pub(crate) client: Client,
    process: Arc<Mutex<Process>>,
}

struct Process {
    _child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// All that it says besides; read as it comes, so that it never waits for a reader.
    said: JoinHandle<String>,
}

impl Provider {
    /// In the clear, at an address of the loopback.
    pub(crate) async fn start() -> Self {
        Self::with(Settings::default(), None).await
    }

    pub(crate) async fn with_settings(settings: Settings) -> Self {
        Self::with(settings, None).await
    }

    /// Over TLS as `localhost`, by the certificates that a site keeps in `folder`: server.pem, server.key and ca.pem.
    pub(crate) async fn over_tls(settings: Settings, folder: &Path) -> Self {
        Self::with(settings, Some(folder)).await
    }

    async fn with(settings: Settings, folder: Option<&Path>) -> Self {
        let tls =
            folder.map(|folder| json!({"certificate": folder.join("server.pem"), "key": folder.join("server.key")}));
        let mut process = Process::spawn();
        let started = process
            .told(json!({
                "do": "start", "tls": tls, "audiences": AUDIENCES, "alg": settings.alg,
                "access_token_s": settings.access_token_s, "redirect_uris": settings.redirect_uris,
            }))
            .await;
        let roots = folder.map(|folder| TlsRoots::from_pem_files([folder.join("ca.pem")]).unwrap());
        let client = Client::new(roots.map(|roots| ClientTls::new(roots, None).unwrap()), Limits::DEFAULT);
        let issuer = started["issuer"].as_str().unwrap().to_owned();
        Self { issuer, client, process: Arc::new(Mutex::new(process)) }
    }

    async fn told(&self, command: Value) -> Value {
        self.process.lock().await.told(command).await
    }

    /// A new key signs from now on; those before it stay published. The key ids, the newest first.
    pub(crate) async fn rotate(&self) -> Vec<String> {
        kids(&self.told(json!({"do": "rotate"})).await)
    }

    /// Publishes the newest key alone.
    pub(crate) async fn withdraw(&self) -> Vec<String> {
        kids(&self.told(json!({"do": "withdraw"})).await)
    }

    /// Nobody answers at its address any more.
    pub(crate) async fn go_down(&self) {
        self.told(json!({"do": "down"})).await;
    }

    /// Somebody answers again, at the same address.
    pub(crate) async fn come_up(&self) {
        self.told(json!({"do": "up"})).await;
    }

    pub(crate) async fn regroup(&self, person: &str, groups: &[&str]) {
        self.told(json!({"do": "groups", "person": person, "groups": groups})).await;
    }

    /// No sign-in, no refresh and no active token of this person any more.
    pub(crate) async fn disable(&self, person: &str) {
        self.told(json!({"do": "disable", "person": person})).await;
    }

    pub(crate) async fn enable(&self, person: &str) {
        self.told(json!({"do": "enable", "person": person})).await;
    }

    /// Ends all that this person was granted so far.
    pub(crate) async fn revoke(&self, person: &str) {
        self.told(json!({"do": "revoke", "person": person})).await;
    }

    /// How often a path has been asked for.
    pub(crate) async fn asked(&self, path: &str) -> u64 {
        self.told(json!({"do": "counts"})).await[path].as_u64().unwrap_or(0)
    }

    /// Its keys, as published (RFC 7517 §5).
    pub(crate) async fn keys(&self) -> Value {
        let url = format!("{}/jwks", self.issuer).parse().unwrap();
        self.client.get_json(&url, None).await.unwrap()
    }

    /// The newest key, as PEM.
    pub(crate) async fn public_key_pem(&self) -> String {
        self.told(json!({"do": "public"})).await["pem"].as_str().unwrap().to_owned()
    }

    /// A token of exactly these texts, truly signed by the newest key whatever the header says.
    pub(crate) async fn sign(&self, input: &str) -> String {
        let said = self.told(json!({"do": "sign", "input": input})).await;
        format!("{input}.{}", said["signature"].as_str().unwrap())
    }

    /// A person at a browser that knows nobody yet.
    pub(crate) fn browser(&self, person: &'static str) -> Browser {
        Browser::new(self.clone(), person)
    }

    /// Signs `person` in with a password alone: an access token for `audience`.
    pub(crate) async fn identity(&self, person: &'static str, audience: &'static str) -> String {
        self.sign_in(person, &[audience]).await.access
    }

    /// The same for several audiences; the access token is for the first, the refresh token for all.
    pub(crate) async fn sign_in(&self, person: &'static str, audiences: &[&'static str]) -> Tokens {
        let wish = Wish { audiences: audiences.to_vec(), ..Wish::default() };
        self.browser(person).code_flow(&wish).await.unwrap()
    }
}

fn kids(said: &Value) -> Vec<String> {
    said["kids"].as_array().unwrap().iter().map(|kid| kid.as_str().unwrap().to_owned()).collect()
}

impl Process {
    fn spawn() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let modules = folder.join("target/provider");
        assert!(
            modules.join("node_modules").exists(),
            "oidc-provider is missing: tests/run puts it into target/provider"
        );
        let provided = folder.join("target/tools/bin/node");
        let mut child = Command::new(if provided.exists() { provided } else { "node".into() })
            .arg(folder.join("tests/provider/main.mjs"))
            .arg(modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let (commands, mut errors) = (child.stdin.take().unwrap(), child.stderr.take().unwrap());
        let said = tokio::spawn(async move {
            let mut said = String::new();
            let _ = errors.read_to_string(&mut said).await;
            said
        });
        Self { _child: child, commands, answers, said }
    }

    async fn told(&mut self, command: Value) -> Value {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let line = timeout(PATIENCE, self.answers.next_line()).await.expect("the provider answers").unwrap();
        let Some(line) = line else {
            panic!("the provider has ended: {}", (&mut self.said).await.unwrap());
        };
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["error"], Value::Null, "{answer:#}");
        answer
    }
}
