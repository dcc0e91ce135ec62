//! A grant used as a person uses it: the program itself in a process of its own, the system's curl, a live sidecar, and
//! both planes. What arrives at the contract API is what counts.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::harness::clients::Shows;
use crate::harness::{PATIENCE, Recorder, SERVICE, SidecarFile, Site, TestSidecar};

const DONE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
const VERSIONS: [(&str, &str); 2] = [("--http1.1", "1.1 breakglass"), ("--http2", "2 breakglass")];

/// Alice's desk: a home of her own, a sidecar whose release route is sealed, and the API behind it.
struct Desk {
    site: Site,
    sidecar: TestSidecar,
    api: Recorder,
}

/// How a program ended, and what it said.
#[derive(Debug)]
struct Ended {
    code: i32,
    data: String,
    talk: String,
}

impl Desk {
    async fn set() -> Self {
        let mut site = Site::start().await;
        site.keep_api_address().await;
        let api = Recorder::start(DONE, |_| {}).await;
        let sealed = "action = \"payment.release\"\nwithout_grant = \"refuse\"";
        let service = SERVICE.replacen("action = \"payment.release\"", sealed, 1);
        let file = SidecarFile { service, upstream: Some(api.url()), ..SidecarFile::default() };
        let sidecar = site.sidecar_with(&file).await;
        sidecar.until_overrides().await;
        // Proofs are for the address that clients call, and the port is known only now.
        let text = std::fs::read_to_string(&sidecar.file).unwrap();
        let origin = |port: &str| format!("public_origin = \"https://localhost{port}\"");
        let named = text.replace(&origin(""), &origin(&format!(":{}", sidecar.address.port())));
        assert_ne!(named, text);
        std::fs::write(&sidecar.file, named).unwrap();
        sidecar.reload().await.unwrap();
        Self { site, sidecar, api }
    }

    fn url(&self, contract: &str) -> String {
        format!("https://localhost:{}/v1/contracts/{contract}/echo", self.sidecar.address.port())
    }

    fn origin(&self) -> String {
        format!("https://localhost:{}", self.sidecar.address.port())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.site.path().join(name)
    }

    /// Any program with alice's environment.
    fn command(&self, program: &str) -> Command {
        let home = self.path("home");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let programs = Path::new(env!("CARGO_BIN_EXE_breakglass")).parent().unwrap().to_owned();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(program);
        command.env_clear().env("PATH", path).env("HOME", &home).env("XDG_STATE_HOME", home.join("state"));
        command.env("XDG_RUNTIME_DIR", &home).env("CURL_CA_BUNDLE", self.path("ca.pem"));
        command.env("BREAKGLASS_CONTROL", format!("https://localhost:{}", self.site.control().api_addr.port()));
        command.env("BREAKGLASS_CA", self.path("ca.pem")).env("BREAKGLASS_TOKEN", self.site.identity("alice"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// The same, with a client certificate.
    fn showing(&self, program: &str, shows: Shows) -> Command {
        let mut command = self.command(program);
        command.env("BREAKGLASS_CLIENT_CERT", shows.certificate(self.site.path()));
        command.env("BREAKGLASS_CLIENT_KEY", shows.key(self.site.path()));
        command
    }

    async fn breakglass(&self, words: &[&str]) -> Ended {
        outcome(self.command("breakglass").args(words)).await
    }

    async fn curl(&self, words: &[&str]) -> Ended {
        outcome(self.command("curl").args(["-sS", "-X", "POST"]).args(words)).await
    }

    /// A grant that the program asked for.
    async fn request(&self, mut command: Command, contract: &str, more: &[&str]) -> Value {
        let resource = format!("contract/{contract}");
        command.args(["--output", "json", "request", "--service", "payments", "--resource", &resource]);
        command.args(["--action", "payment.release", "--reason", "stuck_payment", "--ticket", "INC-2041"]).args(more);
        let ended = outcome(&mut command).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        serde_json::from_str::<Value>(&ended.data).unwrap()["grant"].clone()
    }

    /// How many overrides the API has seen, and by which version of HTTP the last came.
    fn overrides(&self) -> (usize, Option<String>) {
        let heads = self.api.heads();
        assert!(heads.iter().all(|head| head.header("break-glass-action") == Some("payment.release")), "{heads:?}");
        (heads.len(), heads.last().and_then(|head| head.header("via").map(str::to_owned)))
    }
}

async fn outcome(command: &mut Command) -> Ended {
    let output = timeout(PATIENCE * 2, command.output()).await.expect("it ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap_or(-1), data: text(output.stdout), talk: text(output.stderr) }
}

fn id(grant: &Value) -> &str {
    grant["id"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn breakglass_curl_proves_a_key_or_a_certificate_over_both_versions() {
    let desk = Desk::set().await;
    let mut seen = 0;
    for (binding, contract) in [("dpop", "K-1"), ("mtls", "K-2")] {
        for (version, via) in VERSIONS {
            let url = desk.url(contract);
            let mut command = desk.showing("breakglass", Shows::Own);
            command.args(["curl", "--reason", "stuck_payment", "--ticket", "INC-2041", "--tier", "keys", "--binding"]);
            command.args([binding, "--yes", "-sS", version, "-X", "POST", "-d", "a=1", &url]);
            let ended = outcome(&mut command).await;
            assert_eq!((ended.code, ended.data.as_str()), (0, "done"), "{binding} {version} {ended:?}");
            seen += 1;
            assert_eq!(desk.overrides(), (seen, Some(via.to_owned())), "{binding} {version}");
            assert_eq!(ended.talk.contains("which you hold already"), version == "--http2", "{}", ended.talk);
            assert_eq!(desk.api.bodies().last().unwrap().1, b"a=1");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_curl_with_a_client_certificate_is_enough_and_a_stolen_token_is_not() {
    let desk = Desk::set().await;
    let by_certificate =
        desk.request(desk.showing("breakglass", Shows::Own), "K-1", &["--tier", "keys", "--binding", "mtls"]).await;
    let by_key = desk.request(desk.command("breakglass"), "K-2", &["--tier", "keys", "--binding", "dpop"]).await;
    let mut seen = 0;
    for (version, via) in VERSIONS {
        let header = format!("Break-Glass: {}", id(&by_certificate));
        let show = |shows: Shows| [shows.certificate(desk.site.path()), shows.key(desk.site.path())];
        let [certificate, key] = show(Shows::Own);
        let own = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
        let url = desk.url("K-1");
        let ended = desk.curl(&[&own[..], &[version, "-H", &header, &url]].concat()).await;
        assert_eq!((ended.code, ended.data.as_str()), (0, "done"), "{version} {ended:?}");
        seen += 1;
        assert_eq!(desk.overrides(), (seen, Some(via.to_owned())));
        let [certificate, key] = show(Shows::SameName);
        let same_name = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
        for (grant, contract) in [(&by_certificate, "K-1"), (&by_key, "K-2")] {
            let stolen = desk.breakglass(&["grants", "token", id(grant)]).await;
            let header = format!("Break-Glass: {}", stolen.data.trim());
            for more in [&[][..], &same_name] {
                let url = desk.url(contract);
                let ended = desk.curl(&[more, &[version, "-w", "%{http_code}", "-H", &header, &url]].concat()).await;
                let refused = ["identity_missing", "grant_not_usable"].iter().any(|code| ended.data.contains(code));
                assert!(refused && !ended.data.contains("done"), "{version} {contract} {ended:?}");
            }
        }
    }
    assert_eq!(desk.overrides().0, seen, "nothing else arrived");
    // Another key proves nothing either.
    let url = desk.url("K-2");
    let mut thief = desk.command("breakglass");
    thief.env("XDG_STATE_HOME", desk.path("elsewhere"));
    let ended = outcome(thief.args(["env", id(&by_key)])).await;
    assert!(ended.code == 3 && ended.talk.contains("bound to another key"), "{ended:?} {url}");
}

#[tokio::test(flavor = "multi_thread")]
async fn env_makes_plain_curl_ready_and_shows_no_token() {
    let desk = Desk::set().await;
    let grant = desk.request(desk.command("breakglass"), "C-1042", &["--tier", "on-call"]).await;
    let bound =
        desk.request(desk.showing("breakglass", Shows::Own), "K-1", &["--tier", "keys", "--binding", "mtls"]).await;
    for (which, contract) in [(vec!["--resource", "contract/C-1042"], "C-1042"), (vec![id(&bound)], "K-1")] {
        let printed = outcome(desk.showing("breakglass", Shows::Own).arg("env").args(&which)).await;
        assert_eq!(printed.code, 0, "{printed:?}");
        let token = desk.site.identity("alice");
        let signature = token.rsplit('.').next().unwrap();
        assert!(!printed.data.contains(signature) && !printed.data.contains("eyJ"), "{}", printed.data);
        // What is printed last is a line to type.
        let line = printed.data.lines().last().unwrap().trim_start_matches("# ").replace("URL", &desk.url(contract));
        let typed = format!("{}\n{} -sS -X POST", printed.data, line);
        let ended = outcome(desk.command("sh").args(["-eu", "-c", &typed])).await;
        assert_eq!((ended.code, ended.data.as_str()), (0, "done"), "{typed} {ended:?}");
    }
    assert_eq!(desk.overrides().0, 2);
    let folder = desk.path("home/breakglass");
    let mode =
        |path: &Path| std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() == 2 && files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    let several = desk.breakglass(&["env"]).await;
    assert!(several.code == 2 && several.talk.contains(id(&grant)), "{several:?}");
    let none = desk.breakglass(&["env", "--resource", "contract/C-9"]).await;
    assert!(
        none.code == 3 && none.talk.contains("breakglass request --service NAME --resource contract/C-9"),
        "{none:?}"
    );
}

/// `breakglass proxy`, and where it said to come in.
struct Serving {
    child: Child,
    opened: Value,
    _data: Lines<BufReader<ChildStdout>>,
}

impl Serving {
    async fn start(mut command: Command, desk: &Desk, words: &[&str]) -> Self {
        let to = desk.origin();
        let mut child = command.args(["--output", "json", "proxy", "--to", &to]).args(words).spawn().unwrap();
        let mut data = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut document = String::new();
        while !document.ends_with('}') {
            match timeout(PATIENCE, data.next_line()).await.expect("it opens").unwrap() {
                Some(line) => document.push_str(&line),
                None => panic!("it ended: {:?}", Self::talk(&mut child).await),
            }
        }
        Self { child, opened: serde_json::from_str(&document).unwrap(), _data: data }
    }

    async fn talk(child: &mut Child) -> String {
        let mut talk = String::new();
        timeout(PATIENCE, child.stderr.take().unwrap().read_to_string(&mut talk)).await.expect("it ends").unwrap();
        talk
    }

    fn place(&self, name: &str) -> &str {
        self.opened[name].as_str().unwrap()
    }

    async fn end(mut self) -> (i32, String) {
        let talk = Self::talk(&mut self.child).await;
        (self.child.wait().await.unwrap().code().unwrap_or(-1), talk)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_serves_a_socket_and_ends_when_the_grant_is_revoked() {
    let desk = Desk::set().await;
    let grant = desk.request(desk.command("breakglass"), "C-1042", &["--tier", "on-call"]).await;
    let serving = Serving::start(desk.command("breakglass"), &desk, &[id(&grant)]).await;
    let socket = serving.place("socket").to_owned();
    let path = "http://localhost/v1/contracts/C-1042/echo";
    let ended = desk.curl(&["--unix-socket", &socket, "-H", "Break-Glass: g-zzzzzzzzzzzz", "-d", "a=1", path]).await;
    assert_eq!((ended.code, ended.data.as_str()), (0, "done"), "{ended:?}");
    assert_eq!(desk.overrides(), (1, Some("2 breakglass".to_owned())));
    let page = desk.curl(&["--unix-socket", &socket, "-H", "Origin: http://localhost", path]).await;
    assert!(page.data.contains("proxy_browser"), "{page:?}");
    let elsewhere = desk.curl(&["--unix-socket", &socket, &path.replace("C-1042", "C-1043")]).await;
    assert!(elsewhere.data.contains("resource_out_of_scope"), "the sidecar decides: {elsewhere:?}");
    let revoked = desk.site.api(Method::POST, &format!("/v1/grants/{}/revoke", id(&grant)), "alice", json!({})).await;
    assert_eq!(revoked.0, 200, "{}", revoked.1);
    let (code, talk) = serving.end().await;
    assert!(code == 3 && talk.contains("was revoked by"), "{code} {talk}");
    assert!(talk.contains("POST /v1/contracts/C-1042/echo 200"), "{talk}");
    assert!(!Path::new(&socket).exists(), "nothing is left behind");
    let after = desk.breakglass(&["proxy", id(&grant), "--to", &desk.origin()]).await;
    assert!(after.code == 3 && after.talk.contains("was revoked"), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_proves_a_key_behind_a_secret_and_ends_when_the_grant_is_used_up() {
    let desk = Desk::set().await;
    let more = ["--tier", "keys", "--binding", "dpop", "--uses", "2"];
    let grant = desk.request(desk.command("breakglass"), "K-1", &more).await;
    let serving = Serving::start(desk.command("breakglass"), &desk, &[id(&grant), "--tcp"]).await;
    let file = PathBuf::from(serving.place("url_file"));
    let base = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let port = base.trim_start_matches("http://127.0.0.1:").split('/').next().unwrap();
    let stranger = desk.curl(&[&format!("http://127.0.0.1:{port}/v1/contracts/K-1/echo")]).await;
    assert!(stranger.data.contains("proxy_secret"), "{stranger:?}");
    for body in ["first", "second"] {
        let ended = desk.curl(&["-d", body, &format!("{base}/v1/contracts/K-1/echo")]).await;
        assert_eq!((ended.code, ended.data.as_str()), (0, "done"), "{ended:?}");
        assert_eq!(desk.api.bodies().last().unwrap().1, body.as_bytes());
    }
    assert_eq!(desk.overrides().0, 2, "what was refused for want of a nonce was not forwarded");
    let (code, talk) = serving.end().await;
    assert!(code == 0 && talk.contains("is used up"), "{code} {talk}");
    assert!(!talk.contains(base.rsplit('/').next().unwrap()), "the secret is not shown: {talk}");
    assert!(!file.exists() && desk.curl(&[&base]).await.code == 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_keeps_the_nonce_for_the_next_call() {
    let desk = Desk::set().await;
    let more = ["--tier", "keys", "--binding", "dpop"];
    desk.request(desk.command("breakglass"), "K-1", &more).await;
    let url = desk.url("K-1");
    let words = ["curl", "--reason", "stuck_payment", "--ticket", "INC-2041", "--yes", "--", "-sS", "-X", "POST", &url];
    let refused = async || desk.sidecar.metric("breakglass_sidecar_refusals_total{code=\"use_dpop_nonce\"}").await;
    for (overrides, wanting) in [(1, 1.0), (2, 1.0), (3, 1.0)] {
        let ended = desk.breakglass(&words).await;
        assert_eq!((ended.code, ended.data.as_str()), (0, "done"), "{ended:?}");
        assert_eq!((desk.overrides().0, refused().await), (overrides, wanting));
    }
    // One that the sidecar does not know costs the round, and no more.
    let [file] = &nonces(&desk)[..] else { panic!("one origin, one file") };
    let text = std::fs::read_to_string(file).unwrap();
    let nonce = serde_json::from_str::<Value>(&text).unwrap()["nonce"].as_str().unwrap().to_owned();
    std::fs::write(file, text.replace(&nonce, "of-another-life")).unwrap();
    let ended = desk.breakglass(&words).await;
    assert_eq!((ended.code, desk.overrides().0, refused().await), (0, 4, 2.0), "{ended:?}");
    // Many at once take turns at one file, and each call is one override.
    let calls = (0..4).map(|_| desk.breakglass(&words));
    let all = futures_util::future::join_all(calls).await;
    assert!(all.iter().all(|ended| ended.code == 0), "{all:?}");
    assert_eq!((desk.overrides().0, refused().await), (8, 2.0));
}

fn nonces(desk: &Desk) -> Vec<PathBuf> {
    let folder = desk.path("home").join("state/breakglass/nonces");
    std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_shows_the_client_certificate_and_verifies_its_upstream() {
    let desk = Desk::set().await;
    let more = ["--tier", "keys", "--binding", "mtls"];
    let grant = desk.request(desk.showing("breakglass", Shows::Own), "K-1", &more).await;
    let serving = Serving::start(desk.showing("breakglass", Shows::Own), &desk, &[id(&grant)]).await;
    let path = "http://localhost/v1/contracts/K-1/echo";
    let ended = desk.curl(&["--unix-socket", serving.place("socket"), path]).await;
    assert_eq!((ended.code, ended.data.as_str()), (0, "done"), "{ended:?}");
    let mut other = desk.showing("breakglass", Shows::SameName);
    let refused = outcome(other.args(["proxy", id(&grant), "--to", &desk.origin()])).await;
    assert!(refused.code == 3 && refused.talk.contains("another client certificate"), "{refused:?}");
    let unknown = desk.path("clients.pem");
    let words = [id(&grant), "--to-ca", unknown.to_str().unwrap()];
    let misled = Serving::start(desk.showing("breakglass", Shows::Own), &desk, &words).await;
    let ended = desk.curl(&["--unix-socket", misled.place("socket"), path]).await;
    assert!(ended.data.contains("proxy_unreachable"), "{ended:?}");
    assert_eq!(desk.overrides().0, 1);
}
