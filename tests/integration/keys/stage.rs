//! A control plane in a process of its own whose keys are in SoftHSM: the tool that makes the token, the program's verbs, and
//! a way to call its API. Everything is in the site's folder.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use breakglass::http::{Answer, Client, ClientTls, Limits, TlsRoots};
use breakglass::wire::api::{ElevationView, Enforcement, GrantTokenView, GrantView};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use crate::harness::{Program, Site, Start, TestSidecar, raw_request};

const CONTROL: &str = env!("CARGO_BIN_EXE_breakglass-control");
pub(super) const PIN: &str = "4711";

/// Where the private keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum In {
    Files,
    Token,
}

/// See the module.
pub(super) struct Stage {
    pub(super) site: Site,
    client: Client,
}

/// What `keys …` printed.
#[derive(Debug)]
pub(super) struct Printed {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) err: String,
}

impl Stage {
    /// A site whose control plane has not been started, with an empty token called "breakglass".
    pub(super) async fn set(root: In, grant: In) -> Self {
        let mut site = Site::start().await;
        site.stop_control().await;
        for folder in ["data", "keys"] {
            std::fs::remove_dir_all(site.path().join(folder)).unwrap();
        }
        let roots = TlsRoots::from_pem_files([site.path().join("ca.pem")]).unwrap();
        let client = Client::new(Some(ClientTls::new(roots, None).unwrap()), Limits::DEFAULT);
        let stage = Self { site, client };
        stage.make_token();
        stage.write_pin(PIN);
        stage.configure(|text| {
            let keys = "[keys]\nfolder = \"keys\"\ncreate = false\nactivation_delay_s = 2\n";
            format!("{text}{keys}{}{}", stage.source("root", root), stage.source("grant", grant))
        });
        stage
    }

    fn make_token(&self) {
        std::fs::create_dir(self.tokens()).unwrap();
        let conf = format!("directories.tokendir = {}\nobjectstore.backend = file\n", self.tokens().display());
        std::fs::write(self.site.path().join("softhsm2.conf"), conf).unwrap();
        let module = module();
        let made = Command::new(crate::tool("softhsm2-util", "target/tools/bin/softhsm2-util"))
            .arg("--module")
            .arg(&module)
            .args(["--init-token", "--free", "--label", "breakglass", "--so-pin", "0815", "--pin", PIN])
            .envs(self.environment())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    fn source(&self, purpose: &str, place: In) -> String {
        match place {
            In::Files => String::new(),
            In::Token => format!(
                "[keys.{purpose}]\nsource = \"pkcs11\"\nmodule = \"{}\"\ntoken = \"breakglass\"\npin_file = \"pin\"\n",
                module().display()
            ),
        }
    }

    /// Changes the control plane's file.
    pub(super) fn configure(&self, change: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(self.file()).unwrap();
        let text = text.replace("keys = \"keys\"\n", "");
        std::fs::write(self.file(), change(text)).unwrap();
    }

    pub(super) fn file(&self) -> PathBuf {
        self.site.path().join("control.toml")
    }

    pub(super) fn keys(&self) -> PathBuf {
        self.site.path().join("keys")
    }

    /// The folder that is the hardware module.
    pub(super) fn tokens(&self) -> PathBuf {
        self.site.path().join("tokens")
    }

    /// Adds to the policy that the first start applies.
    pub(super) fn add_tier(&self, tier: &str) {
        let file = self.site.path().join("policy.toml");
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + tier).unwrap();
    }

    /// Takes the hardware away, or puts it back.
    pub(super) fn unplug(&self) -> Unplugged {
        let away = self.tokens().with_extension("away");
        std::fs::rename(self.tokens(), &away).unwrap();
        Unplugged { from: away, to: self.tokens() }
    }

    pub(super) fn write_pin(&self, pin: &str) {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(self.site.path().join("pin")).unwrap();
        std::io::Write::write_all(&mut file, format!("{pin}\n").as_bytes()).unwrap();
    }

    fn environment(&self) -> [(&'static str, PathBuf); 1] {
        [("SOFTHSM2_CONF", self.site.path().join("softhsm2.conf"))]
    }

    /// `breakglass-control keys ARGUMENTS`.
    pub(super) fn verb<const N: usize>(&self, arguments: [&str; N]) -> Printed {
        let mut command = Command::new(CONTROL);
        command.args(["--log", "warn", "--config"].map(OsStr::new)).arg(self.file()).arg("keys").args(arguments);
        let Output { status, stdout, stderr } = command.envs(self.environment()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Printed { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
    }

    /// `keys init`, and what it prints pinned by the sidecars to come.
    pub(super) fn init(&self) -> Printed {
        let made = self.verb(["init"]);
        assert_eq!(made.code, 0, "{made:?}");
        std::fs::write(self.site.path().join("grant-roots"), &made.out).unwrap();
        made
    }

    /// The ids of the keys in this state.
    pub(super) fn listed(&self, state: &str) -> Vec<String> {
        let printed = self.verb(["list"]);
        assert_eq!(printed.code, 0, "{printed:?}");
        let rows = printed.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        // Those of the ledger are a matter of their own.
        rows.filter(|row| row[0] != "ledger" && row[2] == state).map(|row| row[1].to_owned()).collect()
    }

    /// Removes what the token holds of a key, by the hand of somebody who has the PIN and not our folder.
    pub(super) fn remove_from_token(&self, label: &str, kid: &str) {
        let ours = std::fs::read_to_string(self.file()).unwrap();
        let elsewhere = self.site.path().join("nobodys");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&elsewhere).unwrap();
        let grant = format!("[keys.grant]\nlabel = \"{label}\"\n");
        self.configure(|text| {
            text.replace("folder = \"keys\"", "folder = \"nobodys\"")
                .replace("[keys.root]\n", "[keys.root]\nlabel = \"none\"\n")
                .replace("[keys.grant]\n", &grant)
        });
        let printed = self.verb(["retire", kid, "--yes"]);
        assert_eq!(printed.code, 0, "{printed:?}");
        self.configure(|_| ours);
    }

    /// How many objects the token holds.
    pub(super) fn objects(&self) -> usize {
        let token = std::fs::read_dir(self.tokens()).unwrap().next().unwrap().unwrap().path();
        let files = std::fs::read_dir(token).unwrap().map(|file| file.unwrap().path());
        let objects = files.filter(|file| file.extension().is_some_and(|ending| ending == "object"));
        // One describes the token itself.
        objects.filter(|file| !file.ends_with("token.object")).count()
    }

    /// A program that may not come up.
    fn spawn(&self, file: &Path) -> Program {
        let [(name, conf)] = self.environment();
        Start::new(file).program(Path::new(CONTROL)).environment(name, conf.to_str().unwrap()).spawn()
    }

    pub(super) async fn serve(&self) -> Serving<'_> {
        self.serve_by(&self.file()).await
    }

    /// Another replica, whose feed is where nobody looks for it.
    pub(super) async fn serve_another(&self) -> Serving<'_> {
        let text = std::fs::read_to_string(self.file()).unwrap();
        let feed = format!("[feed]\naddress = \"{}\"", self.site.feed);
        assert!(text.contains(&feed), "{text}");
        let file = self.site.path().join("another.toml");
        std::fs::write(&file, text.replace(&feed, "[feed]\naddress = \"127.0.0.1:0\"")).unwrap();
        self.serve_by(&file).await
    }

    async fn serve_by(&self, file: &Path) -> Serving<'_> {
        let program = self.spawn(file);
        let up = program.said.until("the control plane is up", 0).await;
        let api = up["api_addr"].as_str().unwrap().parse().unwrap();
        Serving { stage: self, program, api }
    }

    /// What a start that fails says last.
    pub(super) async fn refused(&self) -> String {
        let mut program = self.spawn(&self.file());
        assert_eq!(program.ended().await.code(), Some(1), "{}", program.said.text());
        let prefix = "breakglass-control: ";
        let said = crate::harness::until("the cause", async || {
            let text = program.said.text();
            let said = text.lines().filter_map(|line| serde_json::from_str::<String>(line).ok());
            { said }.find_map(|line| line.strip_prefix(prefix).map(str::to_owned))
        });
        said.await
    }
}

/// Where the module is; without it these tests fail.
fn module() -> PathBuf {
    crate::tool("libsofthsm2.so", "target/tools/lib/libsofthsm2.so")
}

/// Hardware that is away.
pub(super) struct Unplugged {
    from: PathBuf,
    to: PathBuf,
}

impl Unplugged {
    pub(super) fn plug_in(self) {
        std::fs::rename(self.from, self.to).unwrap();
    }
}

/// A control plane that serves.
pub(super) struct Serving<'a> {
    stage: &'a Stage,
    pub(super) program: Program,
    api: SocketAddr,
}

impl Serving<'_> {
    async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        self.call_by("alice", method, path, HeaderMap::new(), body).await
    }

    async fn call_by(&self, person: &str, method: Method, path: &str, mut headers: HeaderMap, body: Value) -> Answer {
        let url = format!("https://localhost:{}{path}", self.api.port()).parse().unwrap();
        let bearer = format!("Bearer {}", self.stage.site.identity(person));
        headers.insert("authorization", HeaderValue::from_str(&bearer).unwrap());
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        self.stage.client.send(method, &url, headers, body).await.unwrap()
    }

    pub(super) async fn ask(&self) -> Answer {
        self.ask_in("on-call").await
    }

    pub(super) async fn ask_in(&self, tier: &str) -> Answer {
        let wanted = json!({
            "service": "payments", "resources": ["contract/C-1042"], "actions": ["payment.release"],
            "reason": "stuck_payment", "ticket": "INC-2041", "duration_s": 600, "tier": tier,
        });
        self.call(Method::POST, "/v1/elevations", wanted).await
    }

    /// Approves the request as `person` sees it now.
    pub(super) async fn approve(&self, person: &str, elevation: &ElevationView) -> Answer {
        let path = format!("/v1/elevations/{}", elevation.id);
        let seen = self.call_by(person, Method::GET, &path, HeaderMap::new(), Value::Null).await;
        let mut headers = HeaderMap::new();
        headers.insert("if-match", seen.headers["etag"].clone());
        self.call_by(person, Method::POST, &format!("{path}/approve"), headers, json!({})).await
    }

    pub(super) async fn elevation(&self, elevation: &ElevationView) -> ElevationView {
        self.call(Method::GET, &format!("/v1/elevations/{}", elevation.id), Value::Null).await.json().unwrap()
    }

    /// A grant that every sidecar enforces, and the id of the key that signed it.
    pub(super) async fn grant(&self) -> (GrantView, String) {
        let answer = self.ask().await;
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        let grant = answer.json::<ElevationView>().unwrap().grant.unwrap();
        let path = format!("/v1/grants/{}/enforcement?wait_ms=10000", grant.id);
        let stands: Enforcement = self.call(Method::GET, &path, Value::Null).await.json().unwrap();
        assert_eq!((stands.enforced, stands.sidecars), (1, 1), "{stands:?}");
        let kid = self.signed_by(&grant).await;
        (grant, kid)
    }

    /// The id of the key that signed it.
    pub(super) async fn signed_by(&self, grant: &GrantView) -> String {
        let path = format!("/v1/grants/{}/token", grant.id);
        let token: GrantTokenView = self.call(Method::GET, &path, Value::Null).await.json().unwrap();
        breakglass::token::key_id(&token.token).unwrap()
    }

    pub(super) async fn grants(&self) -> usize {
        let page: Value = self.call(Method::GET, "/v1/grants", Value::Null).await.json().unwrap();
        page["items"].as_array().unwrap().len()
    }
}

/// What becomes of a request under the grant.
pub(super) async fn code(site: &Site, sidecar: &TestSidecar, grant: &GrantView) -> String {
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    sidecar.send(&raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "x")).await.code()
}
