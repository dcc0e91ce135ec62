//! A sign-in in a keyring: pass, with GnuPG below it, and the program that Docker's tools ask it by.

use super::{Laptop, Provider, Value, at_the_shown_page, signed_in, site_of};
use crate::tool;

/// A laptop with a keyring of its own, whose agent ends with it.
struct WithKeyring(Laptop);

impl WithKeyring {
    async fn new(mut laptop: Laptop) -> Self {
        let helper = tool("docker-credential-pass", "target/tools/bin/docker-credential-pass");
        let folders = std::env::var("PATH").unwrap_or_default();
        laptop.set("PATH", format!("{}:{folders}", helper.parent().unwrap().display()));
        laptop.set("BREAKGLASS_KEYRING", "pass".to_owned());
        let own = Self(laptop);
        std::fs::create_dir(own.0.path().join(".gnupg")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(own.0.path().join(".gnupg"), mode).unwrap();
        let key = ["--batch", "--passphrase", "", "--quick-gen-key", "laptop", "default", "default", "never"];
        own.runs("gpg", &key).await;
        own.runs("pass", &["init", "laptop"]).await;
        own
    }

    async fn runs(&self, program: &str, words: &[&str]) -> String {
        let ended = self.0.command(program).args(words).output().await.unwrap();
        assert!(ended.status.success(), "{program} {words:?}: {ended:?}");
        String::from_utf8(ended.stdout).unwrap()
    }

    /// What lies in it, by name.
    fn names(&self) -> Vec<String> {
        let helpers = self.0.path().join(".password-store/docker-credential-helpers");
        let Ok(places) = std::fs::read_dir(helpers) else { return Vec::new() };
        places.map(|place| place.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for WithKeyring {
    fn drop(&mut self) {
        let home = self.0.path().join(".gnupg");
        let mut end = std::process::Command::new("gpgconf");
        let _ended = end.arg("--homedir").arg(home).args(["--kill", "gpg-agent"]).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_a_keyring_no_token_is_in_a_file() {
    let provider = Provider::start().await;
    let site = site_of(&provider).await;
    let with = WithKeyring::new(Laptop::new(&site)).await;
    let laptop = &with.0;
    signed_in(laptop, &mut provider.browser("alice")).await;
    let file = std::fs::read_to_string(laptop.kept().unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&file).unwrap(), serde_json::json!({"keyring": "pass"}));
    assert_eq!(with.names().len(), 1);
    let shown = laptop.data(&["whoami"]).await;
    assert!(
        shown.contains("alice") && shown.contains("the sign-in in the keyring pass, which renews itself"),
        "{shown}"
    );
    // A token for another audience changes what is kept.
    assert!(laptop.data(&["token", "--service", "payments"]).await.starts_with("eyJ"));
    assert!(laptop.data(&["token"]).await.starts_with("eyJ"));
    assert_eq!(with.names().len(), 1);
    let out = laptop.run(&["logout"]).await;
    assert_eq!((out.code, out.talk.contains("signed out")), (0, true), "{out:?}");
    assert_eq!((laptop.kept(), with.names().len()), (None, 0));
    assert_eq!(provider.asked("/token/revocation").await, 1);
    assert_eq!(laptop.run(&["whoami"]).await.code, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyring_that_does_not_work_is_told_and_can_be_left() {
    let provider = Provider::start().await;
    let site = site_of(&provider).await;
    let mut with = WithKeyring::new(Laptop::new(&site)).await;
    let mut browser = provider.browser("alice");
    signed_in(&with.0, &mut browser).await;
    let kept = with.0.kept().unwrap();
    // Its key is gone: what is in it can't be read, and the file says where it is.
    std::fs::rename(with.0.path().join(".gnupg/private-keys-v1.d"), with.0.path().join("away")).unwrap();
    with.runs("gpgconf", &["--kill", "gpg-agent"]).await;
    let locked = with.0.run(&["whoami"]).await;
    assert_eq!(locked.code, 4, "{locked:?}");
    assert!(locked.talk.contains("docker-credential-pass says") && locked.talk.contains("unlock"), "{locked:?}");
    assert!(kept.exists(), "nothing is thrown away");
    for (name, says) in
        [("elsewhere", "docker-credential-elsewhere is not on the PATH"), ("../evil", "no keyring's name")]
    {
        with.0.set("BREAKGLASS_KEYRING", name.to_owned());
        let unknown = with.0.run(&["login", "--device"]).await;
        assert!(unknown.code == 4 && unknown.talk.contains(says), "{unknown:?}");
    }
    // Whoever wants none signs in again, and the sign-in is in a file.
    with.0.set("BREAKGLASS_KEYRING", "off".to_owned());
    let terminal = with.0.terminal(&["login", "--device"]);
    at_the_shown_page(&terminal, &mut browser).await;
    let (code, said) = terminal.ended().await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("kept in ") && said.contains(".json"), "{said}");
    assert!(with.0.data(&["whoami"]).await.contains(".json, which renews itself"));
}
