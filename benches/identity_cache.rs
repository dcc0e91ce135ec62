//! What a verified identity costs: the first time, again, and however many come. Printed as a table.
//!
//! `cargo bench --bench identity_cache [-- TOKENS]`; by default 50,000 distinct tokens. Tokens are the demonstration issuer's
//! (ES256); its keys are fetched over HTTP as everywhere. A digest of the same token alone is timed beside, because a
//! repeated token must cost no more than that and a look-up. Then genuine tokens and forged ones come without end, and what
//! the process holds in memory is printed as they do.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark that meets the unexpected ends there"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use breakglass::clock::Clock;
use breakglass::demo::issuer::DemoIssuer;
use breakglass::http::{Client, Limits};
use breakglass::identity::{IdentityError, IssuerConfig, Verifier};
use tokio::net::TcpListener;

const TOKENS: usize = 50_000;
const REPETITIONS: u32 = 200_000;
const FIRST_TIMES: usize = 5_000;

/// Resident memory as the kernel counts it (proc(5)).
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

struct Bench {
    issuer: DemoIssuer,
    verifier: Verifier,
}

impl Bench {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let audience: breakglass::domain::Audience = "payments".parse().unwrap();
        let issuer = DemoIssuer::new(url.parse().unwrap(), vec![audience.clone()], Clock::System).unwrap();
        tokio::spawn(issuer.clone().serve(listener, std::future::pending()));
        let config = IssuerConfig::new(url.parse().unwrap(), audience);
        let verifier = Verifier::new(vec![config], &Client::new(None, Limits::DEFAULT), Clock::System).unwrap();
        assert!(verifier.refresh().await.is_empty());
        Self { issuer, verifier }
    }

    fn token(&self) -> String {
        self.issuer.token("alice").unwrap().expose().clone()
    }

    /// The mean of first times, each a signature.
    fn first(&self) -> Duration {
        let tokens: Vec<_> = (0..FIRST_TIMES).map(|_| self.token()).collect();
        let started = Instant::now();
        for token in &tokens {
            black_box(self.verifier.verify(token).unwrap());
        }
        started.elapsed() / FIRST_TIMES as u32
    }

    fn again(&self, token: &str) -> Duration {
        self.verifier.verify(token).unwrap();
        mean(|| drop(black_box(self.verifier.verify(black_box(token)).unwrap())))
    }

    fn flood(&self, tokens: usize) {
        println!("\n{:>12}  {:>10}  {:>12}", "tokens", "kept", "resident MiB");
        let row = |seen: usize| println!("{seen:>12}  {:>10}  {:>12.1}", self.verifier.remembered(), resident_mib());
        row(0);
        for seen in 1..=tokens {
            self.verifier.verify(&self.token()).unwrap();
            if seen == 1_000 || seen == 4_096 || seen % (tokens / 5).max(1) == 0 {
                row(seen);
            }
        }
        let good = self.token();
        let kept = self.verifier.remembered();
        for number in 0..tokens {
            let forged = format!("{}.{}", good.rsplit_once('.').unwrap().0, forged_signature(number));
            assert_eq!(self.verifier.verify(&forged).unwrap_err(), IdentityError::BadSignature);
        }
        assert_eq!(self.verifier.remembered(), kept, "no forged token enters");
        println!(
            "{:>12}  {:>10}  {:>12.1}   forged, none of them kept",
            tokens,
            self.verifier.remembered(),
            resident_mib()
        );
    }
}

/// 64 bytes that nobody has signed, another for each number.
fn forged_signature(number: usize) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let places = (0..4).map(|place| char::from(digits[(number >> (6 * place)) & 63]));
    format!("{}{}", places.collect::<String>(), "A".repeat(82))
}

fn mean(mut work: impl FnMut()) -> Duration {
    let started = Instant::now();
    (0..REPETITIONS).for_each(|_| work());
    started.elapsed() / REPETITIONS
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let tokens = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(TOKENS);
    let bench = Bench::start().await;
    let token = bench.token();
    let first = bench.first();
    let again = bench.again(&token);
    let alone = mean(|| {
        black_box(digest::digest(&digest::SHA256, black_box(token.as_bytes())));
    });
    println!("a token of {} bytes, ES256", token.len());
    for (what, took) in [("the first time", first), ("again", again), ("its SHA-256 alone", alone)] {
        println!("{what:>20}  {:>8} ns", took.as_nanos());
    }
    println!("{:>20}  {:>8.0}", "first / again", first.as_secs_f64() / again.as_secs_f64());
    bench.flood(tokens);
}
