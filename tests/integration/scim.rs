//! SCIM against both planes as they run: groups that no token has let somebody ask, and whoever is deactivated has nothing.

use std::os::unix::fs::PermissionsExt as _;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};

use crate::harness::{Ask, Site, raw_request};

const SECRET: &str = "scim-secret";
const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

/// A site whose groups come by SCIM alone.
async fn open() -> Site {
    let mut site = Site::start().await;
    for (name, secret) in [("scim-entra", SECRET), ("scim-okta", "other-secret")] {
        let file = site.path().join(name);
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let issuer = format!("http://{}", site.issuer_addr);
    let client = |name: &str| format!("{{ name = \"{name}\", issuer = \"{issuer}\", token_file = \"scim-{name}\" }}");
    site.stop_control().await;
    site.control_lines = format!("scim = [{}, {}]", client("entra"), client("okta"));
    site.issuer_lines = "groups = \"scim\"\n".to_owned();
    site.start_control().await;
    site
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

async fn call_as(site: &Site, secret: &str, method: Method, path: &str, extra: &[(&str, &str)], body: Value) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {secret}")).unwrap());
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/scim+json"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/scim+json"));
    for (name, value) in extra {
        headers.insert(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let answer = site.call(method, &format!("/scim/v2{path}"), headers, body).await;
    let document = answer.json().unwrap_or(Value::Null);
    if !document.is_null() {
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/scim+json", "{path}: {document}");
    }
    Answer { status: answer.status.as_u16(), headers: answer.headers, body: document }
}

async fn call(site: &Site, method: Method, path: &str, body: Value) -> Answer {
    call_as(site, SECRET, method, path, &[], body).await
}

async fn create_user(site: &Site, name: &str) -> String {
    let user = json!({"schemas": [USER], "userName": name, "externalId": format!("x-{name}"), "active": true,
        "title": "not kept", "name": {"givenName": name}, "emails": [{"type": "work", "value": format!("{name}@x.test")}]});
    let made = call(site, Method::POST, "/Users", user).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.body["meta"]["version"], "W/\"1\"");
    assert!(made.headers[header::LOCATION].to_str().unwrap().ends_with(made.body["id"].as_str().unwrap()));
    assert!(made.body.get("title").is_none());
    made.body["id"].as_str().unwrap().to_owned()
}

fn patch(operations: Value) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations})
}

async fn asks(site: &Site, person: &str) -> (u16, Value) {
    let asked = json!({"service": "payments", "resources": ["contract/C-1042"], "actions": ["payment.release"],
        "reason": "stuck_payment", "ticket": "INC-1", "duration_s": 600});
    site.api(Method::POST, "/v1/elevations", person, asked).await
}

async fn entries(site: &Site, kind: &str) -> Vec<Value> {
    let entries = site.control().store().entries(0, 1000).await.unwrap();
    let of_kind = entries.into_iter().filter(|entry| entry.kind == kind);
    of_kind.map(|entry| serde_json::from_str::<Value>(&entry.canonical).unwrap()["facts"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_come_from_scim_and_whoever_is_deactivated_has_nothing() {
    let site = open().await;
    let sidecar = site.sidecar().await;
    let (status, refused) = asks(&site, "alice").await;
    assert_eq!((status, &refused["code"]), (403, &"no_tier_fits".into()), "the token's groups are not looked at");
    let alice = create_user(&site, "alice").await;
    let bob = create_user(&site, "bob").await;
    let group = json!({"schemas": [GROUP], "displayName": "payments-oncall", "members": [{"value": bob}]});
    let group = call(&site, Method::POST, "/Groups", group).await;
    assert_eq!(group.status, 201, "{}", group.body);
    let path = format!("/Groups/{}", group.body["id"].as_str().unwrap());
    let more = patch(json!([{"op": "Add", "path": "members", "value": [{"value": alice}]}]));
    let changed = call(&site, Method::PATCH, &path, more).await;
    assert_eq!((changed.status, changed.body["members"].as_array().unwrap().len()), (200, 2), "{}", changed.body);

    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let request = raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "");
    assert_eq!(sidecar.send(&request).await.code(), "override");

    let off = patch(json!([{"op": "Replace", "path": "active", "value": "False"}]));
    let user = format!("/Users/{alice}");
    let changed = call(&site, Method::PATCH, &user, off.clone()).await;
    assert_eq!((changed.status, &changed.body["active"]), (200, &json!(false)), "{}", changed.body);
    // Asked of the store: nobody of this site sees all.
    let revoked = entries(&site, "grant_revoked").await;
    assert_eq!((&revoked[0]["cause"], &revoked[0]["user"]), (&"deactivated".into(), &alice.as_str().into()));
    crate::harness::until("the sidecar enforces it", async || {
        (sidecar.send(&request).await.code() == "grant_revoked").then_some(())
    })
    .await;
    let (status, refused) = asks(&site, "alice").await;
    assert_eq!((status, &refused["code"]), (401, &"identity_invalid".into()), "{refused}");
    // Once more it does nothing, and another one goes on.
    let again = call(&site, Method::PATCH, &user, off).await;
    assert_eq!(again.body["meta"]["version"], changed.body["meta"]["version"]);
    assert_eq!(entries(&site, "grant_revoked").await.len(), 1);
    assert_eq!(asks(&site, "bob").await.0, 201);
    let changes: Vec<_> =
        entries(&site, "group_provisioned").await.into_iter().map(|facts| facts["change"].clone()).collect();
    assert_eq!(changes, ["created", "member_added", "member_added"]);

    // Who is deleted loses what they had, and is in no group.
    let user = format!("/Users/{bob}");
    assert_eq!(call(&site, Method::DELETE, &user, Value::Null).await.status, 204);
    assert_eq!(entries(&site, "grant_revoked").await.len(), 2);
    assert_eq!(call(&site, Method::GET, &user, Value::Null).await.status, 404);
    let group = call(&site, Method::GET, &path, Value::Null).await;
    assert_eq!(group.body["members"], json!([{"value": alice}]));
    assert!(site.control().store().check().await.unwrap().is_sound());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resources_are_found_changed_and_kept_apart() {
    let site = open().await;
    let alice = create_user(&site, "alice").await;
    create_user(&site, "bob").await;
    let twin = json!({"schemas": [USER], "userName": "ALICE"});
    let taken = call(&site, Method::POST, "/Users", twin.clone()).await;
    assert_eq!((taken.status, &taken.body["scimType"]), (409, &"uniqueness".into()));
    for (query, found) in [
        ("?filter=userName%20eq%20%22Alice%22", 1),
        ("?filter=externalId%20eq%20%22x-bob%22", 1),
        ("?filter=userName%20eq%20%22carol%22", 0),
        ("", 2),
    ] {
        let list = call(&site, Method::GET, &format!("/Users{query}"), Value::Null).await;
        assert_eq!((list.status, &list.body["totalResults"]), (200, &found.into()), "{query}: {}", list.body);
    }
    let page = call(&site, Method::GET, "/Users?startIndex=2&count=1", Value::Null).await;
    assert_eq!((&page.body["startIndex"], &page.body["itemsPerPage"]), (&2.into(), &1.into()));
    let all = call(&site, Method::GET, "/Users", Value::Null).await;
    assert_eq!(page.body["Resources"][0]["id"], all.body["Resources"][1]["id"]);
    for query in ["?filter=userName%20co%20%22a%22", "?filter=title%20eq%20%22a%22", "?filter=active%20eq%20true"] {
        let refused = call(&site, Method::GET, &format!("/Users{query}"), Value::Null).await;
        assert_eq!((refused.status, &refused.body["scimType"]), (400, &"invalidFilter".into()), "{query}");
    }

    let path = format!("/Users/{alice}");
    let renamed = json!({"schemas": [USER], "userName": "alice", "displayName": "Alice"});
    let first = call(&site, Method::GET, &path, Value::Null).await.headers[header::ETAG].to_str().unwrap().to_owned();
    let changed = call_as(&site, SECRET, Method::PUT, &path, &[("if-match", &first)], renamed.clone()).await;
    assert_eq!((changed.status, &changed.body["meta"]["version"]), (200, &"W/\"2\"".into()), "{}", changed.body);
    let stale = call_as(&site, SECRET, Method::PUT, &path, &[("if-match", &first)], renamed).await;
    assert_eq!((stale.status, &stale.body["status"]), (412, &"412".into()));
    let bad = patch(json!([{"op": "replace", "path": "members[", "value": 1}]));
    let refused = call(&site, Method::PATCH, &path, bad).await;
    assert_eq!((refused.status, &refused.body["scimType"]), (400, &"invalidPath".into()));
    for body in [json!({"schemas": [USER]}), json!({"userName": "with space"}), json!({"userName": "c", "active": 7})] {
        let refused = call(&site, Method::POST, "/Users", body.clone()).await;
        assert_eq!((refused.status, &refused.body["scimType"]), (400, &"invalidValue".into()), "{body}");
    }
    let group = json!({"displayName": "g", "members": [{"value": "nobody"}]});
    let refused = call(&site, Method::POST, "/Groups", group).await;
    assert_eq!((refused.status, &refused.body["scimType"]), (400, &"invalidValue".into()));
    let none = call(&site, Method::GET, "/Groups", Value::Null).await;
    assert_eq!(none.body["totalResults"], 0, "nothing of it is left: {}", none.body);
    let group = json!({"displayName": "g", "members": [{"value": alice}]});
    let group = call(&site, Method::POST, "/Groups", group).await.body["id"].as_str().unwrap().to_owned();
    let filter = format!(
        "/Groups?filter=id%20eq%20%22{group}%22%20and%20members%20eq%20%22{alice}%22&excludedAttributes=members"
    );
    let list = call(&site, Method::GET, &filter, Value::Null).await;
    assert_eq!(list.body["totalResults"], 1, "{}", list.body);
    assert!(list.body["Resources"][0].get("members").is_none());

    // Another client has a world of its own.
    let other = |method, path: String, body| {
        let site = &site;
        async move { call_as(site, "other-secret", method, &path, &[], body).await }
    };
    assert_eq!(other(Method::GET, path.clone(), Value::Null).await.status, 404);
    assert_eq!(other(Method::DELETE, path, Value::Null).await.status, 404);
    assert_eq!(other(Method::GET, "/Users".into(), Value::Null).await.body["totalResults"], 0);
    assert_eq!(other(Method::POST, "/Users".into(), twin).await.status, 201);
    for secret in ["", "guess", "scim-secret2"] {
        let refused = call_as(&site, secret, Method::GET, "/Users", &[], Value::Null).await;
        assert_eq!((refused.status, &refused.body["status"]), (401, &"401".into()));
    }
    let token = site.identity("carol");
    assert_eq!(call_as(&site, &token, Method::GET, "/Users", &[], Value::Null).await.status, 401);
    for about in ["/ServiceProviderConfig", "/ResourceTypes", "/Schemas"] {
        assert_eq!(call(&site, Method::GET, about, Value::Null).await.status, 200, "{about}");
    }
    let (status, _) = site.api_by(Method::GET, "/v1/grants", SECRET, Value::Null).await;
    assert_eq!(status, 401, "a client's secret opens nothing else");
}
