//! What curl's options are called and which of them take a value (curl 7.88 to 8.17, `curl --help all`).
//!
//! An option that is not in these lists is not guessed at: whether the word after it is its value or a second URL decides
//! how often a request is sent.

/// Options without a value. Each has a `--no-` form.
const FLAGS: &str = "
    anyauth append basic ca-native cert-status compressed compressed-ssh create-dirs crlf digest disable disable-eprt
    disable-epsv disallow-username-in-url doh-cert-status doh-insecure ech-grease fail fail-early fail-with-body
    false-start form-escape ftp-create-dirs ftp-pasv ftp-pret ftp-skip-pasv-ip ftp-ssl-ccc ftp-ssl-control get globoff
    haproxy-protocol head http0.9 http1.0 http1.1 http2 http2-prior-knowledge http3 http3-only ignore-content-length
    include insecure ipv4 ipv6 junk-session-cookies list-only location location-trusted mail-rcpt-allowfails manual
    metalink mptcp negotiate netrc netrc-optional next no-alpn no-buffer no-clobber no-keepalive no-npn
    no-progress-meter no-sessionid ntlm ntlm-wb out-null parallel parallel-immediate path-as-is post301 post302 post303
    progress-bar proxy-anyauth proxy-basic proxy-ca-native proxy-digest proxy-http2 proxy-insecure proxy-negotiate
    proxy-ntlm proxy-ssl-allow-beast proxy-ssl-auto-client-cert proxy-tlsv1 proxytunnel raw remote-header-name
    remote-name remote-name-all remote-time remove-on-error retry-all-errors retry-connrefused sasl-ir show-error
    show-headers silent skip-existing socks5-basic socks5-gssapi socks5-gssapi-nec ssl ssl-allow-beast
    ssl-auto-client-cert ssl-no-revoke ssl-reqd ssl-revoke-best-effort sslv2 sslv3 styled-output
    suppress-connect-headers tcp-fastopen tcp-nodelay tftp-no-options tls-earlydata tlsv1 tlsv1.0 tlsv1.1 tlsv1.2
    tlsv1.3 tr-encoding trace-ids trace-time use-ascii verbose version xattr";

/// Options that take the next word, or what is attached to them.
const VALUES: &str = "
    abstract-unix-socket alt-svc aws-sigv4 cacert capath cert cert-type ciphers config connect-timeout connect-to
    continue-at cookie cookie-jar create-file-mode crlfile curves data data-ascii data-binary data-raw data-urlencode
    delegation dns-interface dns-ipv4-addr dns-ipv6-addr dns-servers doh-url dump-ca-embed dump-header ech egd-file
    engine etag-compare etag-save expect100-timeout follow form form-string ftp-account ftp-alternative-to-user
    ftp-method ftp-port ftp-ssl-ccc-mode happy-eyeballs-timeout-ms haproxy-clientip header help hostpubmd5
    hostpubsha256 hsts interface ip-tos ipfs-gateway json keepalive-cnt keepalive-time key key-type krb libcurl
    limit-rate local-port login-options mail-auth mail-from mail-rcpt max-filesize max-redirs max-time netrc-file
    noproxy oauth2-bearer output output-dir parallel-max parallel-max-host pass pinnedpubkey preproxy proto
    proto-default proto-redir proxy proxy-cacert proxy-capath proxy-cert proxy-cert-type proxy-ciphers proxy-crlfile
    proxy-header proxy-key proxy-key-type proxy-pass proxy-pinnedpubkey proxy-service-name proxy-tls13-ciphers
    proxy-tlsauthtype proxy-tlspassword proxy-tlsuser proxy-user proxy1.0 pubkey quote random-file range rate referer
    request request-target resolve retry retry-delay retry-max-time sasl-authzid service-name sigalgs socks4 socks4a
    socks5 socks5-gssapi-service socks5-hostname speed-limit speed-time stderr telnet-option tftp-blksize time-cond
    tls-max tls13-ciphers tlsauthtype tlspassword tlsuser trace trace-ascii trace-config unix-socket upload-file
    upload-flags url url-query user user-agent variable vlan-priority write-out";

/// One-letter options and their long names.
const SHORT: &str = "
    a=append E=cert K=config C=continue-at b=cookie c=cookie-jar d=data q=disable D=dump-header f=fail F=form
    P=ftp-port G=get g=globoff I=head H=header h=help 0=http1.0 i=include k=insecure 4=ipv4 6=ipv6
    j=junk-session-cookies l=list-only L=location M=manual m=max-time n=netrc :=next N=no-buffer o=output Z=parallel
    #=progress-bar x=proxy U=proxy-user p=proxytunnel Q=quote r=range e=referer J=remote-header-name O=remote-name
    R=remote-time X=request S=show-error s=silent Y=speed-limit y=speed-time 2=sslv2 3=sslv3 t=telnet-option
    z=time-cond 1=tlsv1 T=upload-file B=use-ascii u=user A=user-agent v=verbose V=version w=write-out";

/// One option, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CurlOption {
    pub name: &'static str,
    pub takes_value: bool,
    /// Written with `--no-`.
    pub negated: bool,
}

/// The option behind a long name, which curl lets its user shorten as long as it stays unique.
pub(super) fn long(name: &str) -> Option<CurlOption> {
    named(name).or_else(|| {
        let option = named(name.strip_prefix("no-")?)?;
        (!option.takes_value).then_some(CurlOption { negated: true, ..option })
    })
}

/// The option behind a letter.
pub(super) fn short(letter: char) -> Option<CurlOption> {
    let name = SHORT.split_whitespace().find_map(|pair| pair.strip_prefix(letter)?.strip_prefix('='))?;
    named(name)
}

fn named(name: &str) -> Option<CurlOption> {
    let option = |name, takes_value| CurlOption { name, takes_value, negated: false };
    let all = || {
        let flags = FLAGS.split_whitespace().map(move |name| option(name, false));
        flags.chain(VALUES.split_whitespace().map(move |name| option(name, true)))
    };
    if let Some(exact) = all().find(|option| option.name == name) {
        return Some(exact);
    }
    let mut beginning = all().filter(|option| !name.is_empty() && option.name.starts_with(name));
    beginning.next().filter(|_| beginning.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_short_names_and_beginnings() {
        assert_eq!(long("output").map(|o| (o.name, o.takes_value)), Some(("output", true)));
        assert_eq!(long("dump-h").map(|o| o.name), Some("dump-header"));
        assert_eq!(long("no-location").map(|o| (o.name, o.negated)), Some(("location", true)));
        assert_eq!(long("no-buffer").map(|o| (o.name, o.negated)), Some(("no-buffer", false)));
        assert_eq!(short('L').map(|o| o.name), Some("location"));
        for unknown in ["retr", "", "nonsense", "no-output"] {
            assert_eq!(long(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn every_letter_is_an_option() {
        for pair in SHORT.split_whitespace() {
            let letter = pair.chars().next().unwrap();
            assert!(short(letter).is_some(), "{pair}");
        }
    }

    /// The curl on this machine knows no option that these lists do not, nor one that takes a value where they say not.
    #[test]
    fn the_lists_agree_with_the_curl_that_is_installed() {
        let help = std::process::Command::new("curl").args(["--help", "all"]).output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let mut seen = 0;
        for line in help.lines() {
            let Some((_, rest)) = line.split_once("--") else { continue };
            let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let option = long(name).unwrap_or_else(|| panic!("--{name} is not listed"));
            assert_eq!(option.name, name);
            assert_eq!(option.takes_value, rest.starts_with(['<', '[']), "--{name}");
            seen += 1;
        }
        assert!(seen > 200, "{seen}");
    }
}
