//! The `breakglass` command line: one file per verb, all printing through [`output`].
//!
//! It runs on laptops, so it keeps to portable code, and it holds no secret longer than a call needs it: a token comes
//! from the environment or a file, leaves in a header, and is printed only by the verb that exists for that.
//! [`failure::Exit`] lists the exit codes, `docs/cli.md` is the manual.

pub mod api;
mod approval;
mod approve;
pub mod args;
mod arrival;
mod audit;
mod calls;
mod certs;
mod claim;
mod config;
mod credential;
mod curl;
mod demo;
mod elevate;
mod enforcement;
mod environment;
mod erase;
pub mod failure;
mod freeze;
mod grants;
mod held;
mod interruption;
mod ledger;
mod login;
mod logout;
pub mod output;
mod own_key;
mod policy;
mod private_files;
mod prompt;
mod proxy;
mod report;
mod request;
mod requests;
mod review;
mod revocations;
mod revoke;
mod session;
mod sidecars;
mod sign_in;
mod whoami;
mod witness;

use std::ffi::OsString;
use std::pin::Pin;
use std::process::ExitCode;

use clap::Parser as _;

pub use session::shell_word;

use args::{CommandLine, Verb};
use failure::{Exit, Failure};
use output::Output;

/// The whole program: reads the arguments, runs the verb, prints what went wrong. The code to exit with.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = curl::with_divider(arguments.into_iter().collect());
    let line = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => {
            // Where nobody reads, nothing is to be said.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
        }
    };
    let mut out = Output::of_process(line.global.output, line.global.quiet);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            out.failure(&Failure::new(Exit::Failed, format!("cannot start: {error}"), "free some memory or threads"));
            return ExitCode::from(Exit::Failed as u8);
        }
    };
    let ended = runtime.block_on(run(line, &session::environment, &mut out));
    // A question that nobody answers must not keep the program from ending.
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            out.failure(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Runs one command line as the program would, with an environment and streams of the caller's choice. The
/// demonstration uses it, so that what it shows is what a person gets.
///
/// # Errors
/// As the program: how it ended, if not well.
pub fn perform<'a>(
    arguments: &'a [&'a str],
    env: &'a dyn Fn(&str) -> Option<String>,
    out: &'a mut Output,
) -> Pin<Box<dyn Future<Output = Result<u8, Failure>> + 'a>> {
    Box::pin(async move {
        let words = std::iter::once("breakglass").chain(arguments.iter().copied()).map(OsString::from);
        let line = CommandLine::try_parse_from(curl::with_divider(words.collect()))
            .map_err(|error| Failure::new(Exit::Usage, error.to_string(), "see breakglass --help"))?;
        run(line, env, out).await
    })
}

async fn run(line: CommandLine, env: session::Lookup<'_>, out: &mut Output) -> Result<u8, Failure> {
    let global = &line.global;
    match line.verb {
        Verb::Login(args) => Box::pin(login::run(args, global, env, out)).await,
        Verb::Logout => Box::pin(logout::run(global, env, out)).await,
        Verb::Whoami => whoami::run(global, env, out).await,
        Verb::Token(args) => Box::pin(login::token(&args, global, env, out)).await,
        Verb::Curl(args) => return curl::run(args, global, env, out).await,
        Verb::Env(args) => environment::run(&args, global, env, out).await,
        Verb::Proxy(args) => proxy::run(&args, global, env, out).await,
        Verb::Request(args) => request::run(args, global, env, out).await,
        Verb::Requests(args) => requests::run(args, global, env, out).await,
        Verb::Approve(args) => approve::approve(args, global, env, out).await,
        Verb::Deny(args) => approve::deny(args, global, env, out).await,
        Verb::Withdraw(args) => approve::withdraw(args, global, env, out).await,
        Verb::Claim(args) => claim::run(args, global, env, out).await,
        Verb::Grants(args) => grants::run(args, global, env, out).await,
        Verb::Revoke(args) => revoke::run(args, global, env, out).await,
        Verb::Revocations => revocations::run(global, env, out).await,
        Verb::Freeze(args) => freeze::freeze(args, global, env, out).await,
        Verb::Unfreeze(args) => freeze::unfreeze(args, global, env, out).await,
        Verb::Freezes => freeze::list(global, env, out).await,
        Verb::Report(args) => report::run(args, global, env, out).await,
        Verb::Review(args) => review::run(args, global, env, out).await,
        Verb::Erase(args) => erase::run(args, global, env, out).await,
        Verb::Sidecars => sidecars::run(global, env, out).await,
        Verb::Audit(args) => audit::run(&args, global, env, out).await,
        Verb::Witness(args) => witness::run(args, out).await,
        Verb::Certs(args) => certs::run(&args, out),
        Verb::Config(args) => config::run(&args, out),
        Verb::Policy(args) => return policy::run(&args, global, env, out).await,
        Verb::Demo(args) => return demo::run(args, global, out).await,
    }
    .map(|()| Exit::Ok as u8)
}
