//! Running the system's curl.
//!
//! The first run is as given, with its standard output held for as long as it may be a refusal. The last run, the
//! override, has curl's own streams untouched, our headers from a private file, and redirects and retries off; one that may
//! lack a nonce goes before it, with its output held too.
//! INVARIANT: a header file is given to exactly one curl process.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::head::Head;
use super::plan::{BodyTo, Plan};
use super::refusal::{PROBLEM_BYTES_MAX, may_be_locked};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::private_files;

/// Greatest size of a request body that is read from standard input.
const STDIN_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The body of a request that comes from elsewhere.
pub(super) type Input = Box<dyn io::Read + Send>;

/// What one call needs on disk: a folder that only its owner can enter, gone at the end.
#[derive(Debug)]
pub(super) struct Workshop {
    folder: TempDir,
    stdin: Option<PathBuf>,
}

/// How the first run went.
#[derive(Debug)]
pub(super) struct First {
    pub code: u8,
    pub head: Option<Head>,
    /// Standard output that was held back: shown, unless the override takes its place.
    pub held: Vec<u8>,
    /// The answer's body, as far as it can be a problem document.
    pub body: Vec<u8>,
    /// The body was not to be shown: `-f`.
    pub suppressed: bool,
}

impl Workshop {
    /// `input`: what curl is to read as its standard input, kept so that both runs send the same. It is read aside, so
    /// that Ctrl-C is noticed meanwhile.
    ///
    /// # Errors
    /// When there is no room, or too much input.
    pub(super) async fn open(input: Option<Input>) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            Failure::new(
                Exit::Failed,
                format!("a temporary file cannot be made: {error}"),
                "make room in the folder that TMPDIR names",
            )
        };
        let folder = private_files::temporary_folder(None).map_err(failed)?;
        let Some(input) = input else { return Ok(Self { folder, stdin: None }) };
        let path = folder.path().join("stdin");
        let spooled = tokio::task::spawn_blocking(move || spool(input, &path).map(|()| path));
        let stdin = spooled.await.map_err(io::Error::other).and_then(|spooled| spooled).map_err(failed)?;
        Ok(Self { folder, stdin: Some(stdin) })
    }

    /// A path in the folder that nothing has had yet.
    fn fresh(&self, name: &str) -> PathBuf {
        let mut paths = (0_u32..).map(|number| self.folder.path().join(format!("{name}-{number}")));
        paths.find(|path| !path.exists()).unwrap_or_default()
    }

    fn stdin(&self) -> io::Result<Stdio> {
        self.stdin.as_ref().map_or_else(|| Ok(Stdio::null()), |file| File::open(file).map(Stdio::from))
    }

    /// Runs curl as it was asked for and looks at the answer.
    ///
    /// # Errors
    /// When there is no curl, or standard output cannot be written to.
    pub(super) async fn first(&self, arguments: &[OsString], plan: &Plan, out: &mut Output) -> Result<First, Failure> {
        self.watched(arguments, plan, (&[], may_be_locked), out).await
    }

    /// Runs curl with `more`, and holds its answer back where `holds` says so of its head.
    pub(super) async fn watched(
        &self,
        arguments: &[OsString],
        plan: &Plan,
        (more, holds): (&[OsString], fn(&Head) -> bool),
        out: &mut Output,
    ) -> Result<First, Failure> {
        let dump = self.fresh("head");
        let shows_body = plan.fail && plan.body_to == BodyTo::Stdout && !plan.write_out;
        let mut extra: Vec<&OsStr> = more.iter().map(OsString::as_os_str).collect();
        extra.extend(["--suppress-connect-headers", "--no-buffer", "--dump-header"].map(OsStr::new));
        extra.push(dump.as_os_str());
        if shows_body {
            extra.extend(["--no-fail", "--fail-with-body"].map(OsStr::new));
        }
        if out.data_terminal && plan.body_to == BodyTo::Stdout {
            // curl shows no progress on a terminal, and would take the pipe for something else.
            extra.push("--no-progress-meter".as_ref());
        }
        let mut command = curl(arguments, plan.options_end, &extra);
        let mut child = spawn(command.stdin(self.stdin().map_err(|e| not_run(&e))?).stdout(Stdio::piped()))?;
        let mut relay = Relay { dump: &dump, plan, shows_body, holds, state: State::Undecided, held: Vec::new() };
        let relayed = relay.run(&mut child, out).await;
        let status = child.wait().await.map_err(|error| not_run(&error))?;
        relayed?;
        relay.finish(code_of(status))
    }

    /// What makes curl send an override: our headers from a private file, and nothing that sends twice, elsewhere, or
    /// shows what is sent.
    ///
    /// # Errors
    /// When the file can't be written.
    pub(super) fn override_options(&self, lines: &str) -> Result<Vec<OsString>, Failure> {
        let header = self.fresh("override");
        // An empty Expect keeps curl from asking first and sending the request again after a 417 (RFC 9110 §10.1.1).
        private_files::write(&header, format!("{lines}Expect:\n").as_bytes()).map_err(|error| not_run(&error))?;
        let mut options: Vec<OsString> = ["--no-location", "--retry", "0", "--header"].map(OsString::from).to_vec();
        options.push(OsString::from_iter(["@".as_ref(), header.as_os_str()]));
        // Tracing would show the tokens.
        options.push("--no-verbose".into());
        Ok(options)
    }

    /// Runs curl with `more` on its own streams.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(super) async fn last(self, arguments: &[OsString], plan: &Plan, more: &[OsString]) -> Result<u8, Failure> {
        let extra: Vec<&OsStr> = more.iter().map(OsString::as_os_str).collect();
        let mut command = curl(arguments, plan.options_end, &extra);
        let mut child = spawn(command.stdin(self.stdin().map_err(|e| not_run(&e))?))?;
        child.wait().await.map(code_of).map_err(|error| not_run(&error))
    }
}

/// Runs curl with nothing added.
///
/// # Errors
/// When there is no curl.
pub(super) async fn bare(arguments: &[OsString]) -> Result<u8, Failure> {
    let mut child = spawn(&mut curl(arguments, arguments.len(), &[]))?;
    child.wait().await.map(code_of).map_err(|error| not_run(&error))
}

fn curl(arguments: &[OsString], options_end: usize, extra: &[&OsStr]) -> Command {
    let (options, rest) = arguments.split_at_checked(options_end).unwrap_or((arguments, &[]));
    let mut command = Command::new("curl");
    command.args(options).args(extra).args(rest).kill_on_drop(true);
    // curl needs no token of the control plane, nor does what it may start.
    for name in ["BREAKGLASS_TOKEN", "BREAKGLASS_IDENTITY"] {
        command.env_remove(name);
    }
    command
}

fn spawn(command: &mut Command) -> Result<Child, Failure> {
    command.spawn().map_err(|error| not_run(&error))
}

fn not_run(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::new(Exit::Failed, "curl was not found", "install curl, or add its folder to PATH");
    }
    Failure::new(
        Exit::Failed,
        format!("curl cannot be run: {error}"),
        "check that curl works by itself: curl --version",
    )
}

/// curl's exit code; a signal counts as shells count it.
fn code_of(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(128 + signal).unwrap_or(255);
    }
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// What becomes of curl's standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The answer's head is not complete.
    Undecided,
    /// It may be a refusal: held back.
    Held,
    /// It is none: shown as it comes.
    Shown,
    /// `-f`, and the status says failure.
    Dropped,
}

struct Relay<'a> {
    dump: &'a Path,
    plan: &'a Plan,
    shows_body: bool,
    holds: fn(&Head) -> bool,
    state: State,
    held: Vec<u8>,
}

impl Relay<'_> {
    async fn run(&mut self, child: &mut Child, out: &mut Output) -> Result<(), Failure> {
        let Some(mut stdout) = child.stdout.take() else { return Ok(()) };
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = stdout.read(&mut buffer).await.map_err(|error| not_run(&error))?;
            let chunk = buffer.get(..read).unwrap_or_default();
            self.take(chunk, read == 0, out)?;
            if read == 0 {
                return Ok(());
            }
        }
    }

    fn take(&mut self, chunk: &[u8], ended: bool, out: &mut Output) -> Result<(), Failure> {
        if self.state == State::Shown {
            return out.bytes(chunk);
        }
        if self.state == State::Dropped {
            return Ok(());
        }
        self.held.extend_from_slice(chunk);
        if self.state == State::Undecided {
            let head = self.head();
            if head.is_some() || ended {
                self.state = self.decide(head.as_ref());
                self.hand_on_head(out)?;
            }
        }
        // A problem document is small: what is longer is none.
        let head_bytes = if self.plan.include_header { 256 * 1024 } else { 0 };
        if self.state == State::Held && self.held.len() > PROBLEM_BYTES_MAX + head_bytes {
            self.state = if self.shows_body { State::Dropped } else { State::Shown };
        }
        match self.state {
            State::Shown => out.bytes(&std::mem::take(&mut self.held)),
            State::Dropped => {
                self.held.clear();
                Ok(())
            }
            State::Undecided | State::Held => Ok(()),
        }
    }

    fn decide(&self, head: Option<&Head>) -> State {
        match head {
            Some(head) if (self.holds)(head) => State::Held,
            Some(head) if self.shows_body && head.status >= 400 => State::Dropped,
            _ => State::Shown,
        }
    }

    fn head(&self) -> Option<Head> {
        Head::parse(&fs::read(self.dump).unwrap_or_default())
    }

    /// Gives the person the header where they asked for it: our own dump stands in place of theirs.
    fn hand_on_head(&self, out: &mut Output) -> Result<(), Failure> {
        let dump = || fs::read(self.dump).unwrap_or_default();
        match self.plan.dump_header.as_deref() {
            None => Ok(()),
            // A refusal's header would stand before the override's.
            Some("-") if self.state == State::Held => Ok(()),
            Some("-") => out.bytes(&dump()),
            Some(file) => fs::write(file, dump()).map_err(|error| {
                Failure::new(Exit::Failed, format!("{file} cannot be written to: {error}"), "name another file for -D")
            }),
        }
    }

    fn finish(self, code: u8) -> Result<First, Failure> {
        let head = self.head();
        let body = match &self.plan.body_to {
            BodyTo::File(file) if head.as_ref().is_some_and(Head::is_problem) => beginning_of(file),
            BodyTo::File(_) => Vec::new(),
            BodyTo::Stdout => self.body().to_vec(),
        };
        Ok(First { code, head, held: self.held, body, suppressed: self.shows_body })
    }

    /// What was held, without the header that `-i` puts before the body.
    fn body(&self) -> &[u8] {
        if !self.plan.include_header {
            return &self.held;
        }
        let dump = fs::read(self.dump).unwrap_or_default();
        self.held.strip_prefix(dump.as_slice()).unwrap_or(&self.held)
    }
}

/// The beginning of a regular file, as far as a problem document reaches.
fn beginning_of(file: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if fs::metadata(file).is_ok_and(|meta| meta.is_file())
        && let Ok(file) = File::open(file)
    {
        let limit = u64::try_from(PROBLEM_BYTES_MAX).unwrap_or(u64::MAX);
        let _ = file.take(limit).read_to_end(&mut bytes);
    }
    bytes
}

fn spool(input: Input, path: &Path) -> io::Result<()> {
    let copied = io::copy(&mut input.take(STDIN_BYTES_MAX + 1), &mut private_files::create(path)?)?;
    if copied > STDIN_BYTES_MAX {
        let what = format!("standard input is larger than {STDIN_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(())
}
