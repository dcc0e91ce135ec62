//! What stands on the terminal once the story is told: addresses, and commands that work as they are in another terminal.

use super::stage::Stage;
use crate::cli::failure::Failure;
use crate::cli::output::{Cell, Colour, Output};
use crate::cli::shell_word;
use crate::demo::examples::SERVICE;

/// The address that the commands send to: its contract is frozen, and it can be set any number of times.
const LIMIT: &str = "/v1/contracts/C-3001/limit";
const PAYMENT: &str = "/v1/contracts/C-3001/payments/P-1/release";

/// Prints it.
///
/// # Errors
/// When standard output cannot be written to.
pub(in crate::demo) fn invite(
    stage: &Stage,
    places: &[(&'static str, String)],
    out: &mut Output,
) -> Result<(), Failure> {
    out.line("")?;
    out.parts(&[Cell::coloured("Everything stays up. To look at:", Colour::Yellow)])?;
    for (name, url) in places {
        out.line(&format!("  {name:<24} {url}"))?;
    }
    for (title, commands) in chapters(stage) {
        out.line("")?;
        out.parts(&[Cell::coloured(format!("# {title}"), Colour::Yellow)])?;
        for command in commands {
            out.line(&command)?;
        }
    }
    out.line("")?;
    out.parts(&[Cell::coloured("Ctrl-C ends it and removes everything it wrote.", Colour::Yellow)])
}

/// Commands for a POSIX shell, in the order in which they make sense.
fn chapters(stage: &Stage) -> Vec<(&'static str, Vec<String>)> {
    let ca = shell_word(&stage.ca.to_string_lossy());
    let token =
        |person: &str| format!("\"$(curl -s --cacert {ca} '{}/token?person={person}&format=text')\"", stage.issuer);
    let folder =
        std::env::current_exe().ok().and_then(|path| path.parent().map(|at| at.to_string_lossy().into_owned()));
    let path = folder.map(|folder| format!("export PATH={}:\"$PATH\"", shell_word(&folder)));
    let set = |version: &str, more: &str| {
        let body = "-H 'Content-Type: application/json' -d '{\"amount\": 2000000}'";
        format!("curl -sS {version} --cacert {ca} -X POST {}{LIMIT} {body}{more} -w '\\n'", stage.sidecar)
    };
    let with_grant = " -H \"Break-Glass: $GRANT\" -H \"Break-Glass-Identity: $BREAKGLASS_TOKEN\"";
    let request = format!(
        "breakglass request --service {SERVICE} --resource contract/C-3001 --action limit.set \
         --reason customer_harm --ticket INC-2042"
    );
    vec![
        (
            "once, in another terminal: the program, the addresses, a token of Alice's",
            path.into_iter()
                .chain([
                    format!("export BREAKGLASS_CONTROL={} BREAKGLASS_CA={ca}", stage.control),
                    format!("export BREAKGLASS_TOKEN={}", token("alice")),
                ])
                .collect(),
        ),
        ("locked by the contract API: 423, over HTTP/2 and HTTP/1.1", vec![set("--http2", ""), set("--http1.1", "")]),
        (
            "a grant, and the same requests with it: 200",
            vec![
                format!("GRANT=$({request} --output json | grep -o 'g-[0-9a-z]*' | head -n 1); echo \"$GRANT\""),
                set("--http2", with_grant),
                set("--http1.1", with_grant),
            ],
        ),
        (
            "look at it, end it, and see it refused: 403 grant_revoked",
            vec!["breakglass grants".to_owned(), "breakglass revoke \"$GRANT\"".to_owned(), set("--http2", with_grant)],
        ),
        (
            "all of it in one: asks for reason and ticket, requests, waits, asks once more, sends once",
            vec![format!("breakglass curl -sS --cacert {ca} -X POST {}{PAYMENT} -w '\\n'", stage.sidecar)],
        ),
        (
            "what was recorded",
            stage
                .audit
                .iter()
                .map(|folder| format!("breakglass audit verify {}", shell_word(&folder.to_string_lossy())))
                .collect(),
        ),
    ]
}
