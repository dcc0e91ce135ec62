//! Signing in at the provider as people do: a browser that follows redirects, keeps cookies and fills in forms, and the
//! flows of OAuth that begin or end in it (RFC 6749, 7636, 8628, 8707).

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use breakglass::http::Answer;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;

use super::provider::Provider;

/// The client that a laptop's programs are.
pub(crate) const CLIENT: &str = "breakglass-cli";
/// Nobody listens there: a code is read from the address, not from a request.
const REDIRECT: &str = "http://127.0.0.1:1/callback";
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// More pages than any flow has.
const PAGES_MAX: usize = 16;

/// What a client asks the provider for.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) client: &'static str,
    /// The first is whom the access token is for.
    pub(crate) audiences: Vec<&'static str>,
    pub(crate) acr_values: Option<&'static str>,
    pub(crate) max_age_s: Option<u64>,
}

impl Default for Wish {
    fn default() -> Self {
        Self { client: CLIENT, audiences: vec!["control"], acr_values: None, max_age_s: None }
    }
}

/// What the token endpoint gave.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: Option<String>,
    pub(crate) id: Option<String>,
}

impl Tokens {
    fn of(said: &Value) -> Self {
        let text = |name: &str| said[name].as_str().map(str::to_owned);
        let access = text("access_token").unwrap_or_else(|| panic!("no access token: {said}"));
        Self { access, refresh: text("refresh_token"), id: text("id_token") }
    }
}

/// Where a browser ends up.
#[derive(Debug)]
pub(crate) enum Landed {
    /// At an address that is not the provider's.
    Elsewhere(String),
    /// At a page with nothing (more) to fill in.
    Page(u16, String),
}

/// A person at a browser.
pub(crate) struct Browser {
    provider: Provider,
    person: &'static str,
    /// What is typed where a second factor is asked for.
    pub(crate) otp: &'static str,
    /// By name and path.
    cookies: BTreeMap<(String, String), String>,
    /// How often a sign-in form was filled in.
    pub(crate) sign_ins: usize,
}

impl Browser {
    pub(super) fn new(provider: Provider, person: &'static str) -> Self {
        Self { provider, person, otp: "123456", cookies: BTreeMap::new(), sign_ins: 0 }
    }

    /// Opens an address of the provider and does what its pages ask.
    pub(crate) async fn open(&mut self, url: &str) -> Landed {
        let mut next = (Method::GET, url.to_owned(), String::new());
        for _ in 0..PAGES_MAX {
            let (method, url, form) = next;
            let answer = self.request(method, &url, form).await;
            if let Some(place) = answer.headers.get("location") {
                let place = place.to_str().unwrap();
                let place =
                    if place.starts_with('/') { format!("{}{place}", self.provider.issuer) } else { place.into() };
                if !place.starts_with(&self.provider.issuer) {
                    return Landed::Elsewhere(place);
                }
                next = (Method::GET, place, String::new());
                continue;
            }
            let page = String::from_utf8(answer.body.to_vec()).unwrap();
            let status = answer.status.as_u16();
            match Form::of(&page) {
                Some(form) if status == 200 => next = (Method::POST, form.action.clone(), self.filled(&form)),
                _ => return Landed::Page(status, page),
            }
        }
        panic!("{url} leads nowhere");
    }

    fn filled(&mut self, form: &Form) -> String {
        let mut fields = form.fields.clone();
        for (name, value) in &mut fields {
            match name.as_str() {
                "login" => {
                    self.sign_ins += 1;
                    *value = self.person.to_owned();
                }
                "password" => *value = self.person.to_owned(),
                "otp" => *value = self.otp.to_owned(),
                _ => {}
            }
        }
        encode(fields.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    async fn request(&mut self, method: Method, url: &str, form: String) -> Answer {
        let url = if url.starts_with('/') { format!("{}{url}", self.provider.issuer) } else { url.to_owned() };
        let path = url.strip_prefix(&self.provider.issuer).unwrap().to_owned();
        let fitting = self.cookies.iter().filter(|((_, scope), _)| path.starts_with(scope.as_str()));
        let cookies: Vec<_> = fitting.map(|((name, _), value)| format!("{name}={value}")).collect();
        let mut headers = HeaderMap::new();
        if !cookies.is_empty() {
            headers.insert("cookie", cookies.join("; ").parse().unwrap());
        }
        if method == Method::POST {
            headers.insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
        }
        let answer = self.provider.client.send(method, &url.parse().unwrap(), headers, form.into()).await.unwrap();
        for cookie in answer.headers.get_all("set-cookie") {
            self.keep(cookie.to_str().unwrap());
        }
        answer
    }

    fn keep(&mut self, cookie: &str) {
        let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
        let (name, value) = pair.split_once('=').unwrap();
        let mut attributes = attributes.split(';').filter_map(|attribute| attribute.trim().split_once('='));
        let path = attributes.clone().find(|(name, _)| name.eq_ignore_ascii_case("path")).map_or("/", |(_, path)| path);
        let key = (name.to_owned(), path.to_owned());
        let is_gone = attributes.any(|(name, when)| name.eq_ignore_ascii_case("expires") && when.contains("1970"));
        if is_gone {
            self.cookies.remove(&key);
        } else {
            self.cookies.insert(key, value.to_owned());
        }
    }

    /// Authorisation code with PKCE: what the client gets, or the error that the provider redirects with.
    pub(crate) async fn code_flow(&mut self, wish: &Wish) -> Result<Tokens, String> {
        let verifier = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.person.as_bytes()));
        let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
        let max_age = wish.max_age_s.map(|age| age.to_string());
        let resources: Vec<_> = wish.audiences.iter().map(|audience| resource(audience)).collect();
        let mut asked = vec![
            ("client_id", wish.client),
            ("response_type", "code"),
            ("redirect_uri", REDIRECT),
            ("scope", "openid offline_access groups use"),
            ("state", "of-the-test"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        asked.extend(resources.iter().map(|resource| ("resource", resource.as_str())));
        asked.extend(wish.acr_values.map(|values| ("acr_values", values)));
        asked.extend(max_age.as_deref().map(|age| ("max_age", age)));
        let url = format!("{}/auth?{}", self.provider.issuer, encode(asked));
        let landed = match self.open(&url).await {
            Landed::Elsewhere(url) => url,
            Landed::Page(status, page) => return Err(format!("{status} {page}")),
        };
        assert_eq!(parameter(&landed, "state"), Some("of-the-test"));
        let Some(code) = parameter(&landed, "code") else { return Err(landed) };
        let said = self
            .provider
            .token(&[
                ("grant_type", "authorization_code"),
                ("client_id", wish.client),
                ("code", code),
                ("redirect_uri", REDIRECT),
                ("code_verifier", &verifier),
                ("resource", &resources[0]),
            ])
            .await;
        said.map(|said| Tokens::of(&said))
    }

    /// The device flow: the client asks, the person opens the address it shows, the client fetches.
    pub(crate) async fn device_flow(&mut self, wish: &Wish) -> Result<Tokens, String> {
        let resource = resource(wish.audiences[0]);
        let scope = "openid offline_access groups use";
        let mut asked = vec![("client_id", wish.client), ("scope", scope), ("resource", &resource)];
        asked.extend(wish.acr_values.map(|values| ("acr_values", values)));
        let said = self.provider.post("/device/auth", &asked, None).await?;
        let code = said["device_code"].as_str().unwrap();
        let fetch = [("grant_type", DEVICE_GRANT), ("client_id", wish.client), ("device_code", code)];
        let early = self.provider.token(&fetch).await.unwrap_err();
        assert_eq!(early, "authorization_pending");
        let landed = self.open(said["verification_uri_complete"].as_str().unwrap()).await;
        assert!(matches!(landed, Landed::Page(200, _)), "{landed:?}");
        self.provider.token(&fetch).await.map(|said| Tokens::of(&said))
    }
}

impl Provider {
    /// Another access token, for `audience`.
    pub(crate) async fn refresh(&self, tokens: &Tokens, audience: &str) -> Result<Tokens, String> {
        let (token, resource) = (tokens.refresh.as_deref().expect("a refresh token"), resource(audience));
        let asked =
            [("grant_type", "refresh_token"), ("client_id", CLIENT), ("refresh_token", token), ("resource", &resource)];
        self.token(&asked).await.map(|said| Tokens::of(&said))
    }

    /// A machine's token.
    pub(crate) async fn machine(&self, audience: &str) -> String {
        let resource = resource(audience);
        let asked = [("grant_type", "client_credentials"), ("resource", resource.as_str()), ("scope", "use")];
        Tokens::of(&self.post("/token", &asked, Some(("pipeline", "pipeline-secret"))).await.unwrap()).access
    }

    /// What the provider says of a token (RFC 7662).
    pub(crate) async fn introspect(&self, token: &str) -> Value {
        let client = ("introspector", "introspector-secret");
        self.post("/token/introspection", &[("token", token)], Some(client)).await.unwrap()
    }

    async fn token(&self, form: &[(&str, &str)]) -> Result<Value, String> {
        self.post("/token", form, None).await
    }

    /// The answer, or its error code.
    async fn post(&self, path: &str, form: &[(&str, &str)], secret: Option<(&str, &str)>) -> Result<Value, String> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
        if let Some((name, secret)) = secret {
            let basic = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{secret}"));
            headers.insert("authorization", format!("Basic {basic}").parse().unwrap());
        }
        let url = format!("{}{path}", self.issuer).parse().unwrap();
        let body = Bytes::from(encode(form.iter().copied()));
        let answer = self.client.send(Method::POST, &url, headers, body).await.unwrap();
        let said: Value = answer.json().unwrap();
        if answer.status.is_success() { Ok(said) } else { Err(said["error"].as_str().unwrap().to_owned()) }
    }
}

/// The first form of a page.
struct Form {
    action: String,
    fields: Vec<(String, String)>,
}

impl Form {
    fn of(page: &str) -> Option<Self> {
        let form = page.split_once("<form")?.1.split_once("</form>")?.0;
        let (head, rest) = form.split_once('>')?;
        let fields = rest.split("<input").skip(1).filter_map(|input| {
            let input = input.split_once('>')?.0;
            Some((attribute(input, "name")?, attribute(input, "value").unwrap_or_default()))
        });
        Some(Self { action: attribute(head, "action")?, fields: fields.collect() })
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = tag.split_once(&format!("{name}=\""))?.1.split_once('"')?.0;
    Some(value.replace("&amp;", "&"))
}

/// The resource indicator by which the provider knows an audience.
pub(crate) fn resource(audience: &str) -> String {
    format!("urn:break-glass:{audience}")
}

/// The value of a parameter that needs no decoding.
fn parameter<'u>(url: &'u str, name: &str) -> Option<&'u str> {
    url.split_once('?')?.1.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// `application/x-www-form-urlencoded`.
fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs.into_iter().map(|(name, value)| format!("{name}={}", percent(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
