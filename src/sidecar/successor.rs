//! The process that is to follow this one: started from the same path with the same arguments, given our listening
//! sockets by number and name, and heard of on a line of its own.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

use super::handover::{HandoverError, READY_MAX};
use super::sockets::{PREDECESSOR, Word};

const FIRST_FD: i32 = 3;
/// How long a process that has closed its line may take to end.
const LOOKS: u32 = 100;
const LOOK: Duration = Duration::from_millis(20);

/// What this process was started as.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// Of the running process. To be called at its start: later its file may have been replaced, and it is the new file
    /// at the old path that is to run then. A path given through symbolic links is kept as it was given.
    ///
    /// # Errors
    /// When the system does not say what runs.
    pub fn of_this_process() -> io::Result<Self> {
        let running = std::env::current_exe()?;
        let mut arguments = std::env::args_os();
        let called = arguments.next().map(PathBuf::from).and_then(|name| as_called(&name, &running));
        Ok(Self { path: called.unwrap_or(running), arguments: arguments.collect() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The path by which `running` was found, where that can be told.
fn as_called(name: &Path, running: &Path) -> Option<PathBuf> {
    let named_by_path = name.components().count() > 1 || name.is_absolute();
    let candidates: Vec<PathBuf> = if named_by_path {
        std::path::absolute(name).into_iter().collect()
    } else {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders).map(|folder| folder.join(name)).collect()
    };
    let running = identity(running)?;
    candidates.into_iter().find(|candidate| identity(candidate) == Some(running))
}

fn identity(file: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(file).ok()?;
    Some((found.dev(), found.ino()))
}

/// A successor that was started and does not serve yet. Ended when dropped.
#[derive(Debug)]
pub struct Successor {
    child: Unproven,
    line: UnixStream,
}

/// A successor that serves. While this lives, it takes it that we have the sockets as well.
#[derive(Debug)]
pub struct Heir {
    pub process: u32,
    line: UnixStream,
}

impl Heir {
    /// Tells it that the sockets are its own now.
    pub fn leave(self) {
        drop(self.line);
    }
}

impl Successor {
    /// Starts it with `sockets`, each under its name. `kept`: a service manager has them as well. Needs a runtime.
    ///
    /// # Errors
    /// [`HandoverError`].
    pub fn start(program: &Program, sockets: Vec<(&'static str, OwnedFd)>, kept: bool) -> Result<Self, HandoverError> {
        let (mut ours, theirs) = StdUnixStream::pair().map_err(HandoverError::Line)?;
        // It waits in the line until the successor reads it.
        ours.write_all(&[if kept { Word::KEPT } else { Word::OURS }]).map_err(HandoverError::Line)?;
        ours.set_nonblocking(true).map_err(HandoverError::Line)?;
        let line = UnixStream::from_std(ours).map_err(HandoverError::Line)?;
        let passed: Vec<_> = sockets.into_iter().chain([(PREDECESSOR, OwnedFd::from(theirs))]).collect();
        let child =
            spawn(program, passed).map_err(|source| HandoverError::Spawn { program: program.path.clone(), source })?;
        Ok(Self { child: Unproven(Some(child)), line })
    }

    pub fn process(&self) -> Option<u32> {
        self.child.0.as_ref().map(Child::id)
    }

    /// Waits until it says that it serves.
    ///
    /// # Errors
    /// [`HandoverError`]; it is ended then.
    pub async fn ready(mut self) -> Result<Heir, HandoverError> {
        let mut word = [0];
        match tokio::time::timeout(READY_MAX, self.line.read(&mut word)).await {
            Err(_) => Err(HandoverError::Late(READY_MAX)),
            Ok(Ok(1)) if word == [Word::READY] => {
                // Ours no longer: it is not ended with this value.
                let process = self.child.0.take().map(|child| child.id());
                process.map(|process| Heir { process, line: self.line }).ok_or(HandoverError::Stopping)
            }
            Ok(Ok(_) | Err(_)) => Err(self.died().await),
        }
    }

    /// The line is closed: it ends or has ended.
    async fn died(&mut self) -> HandoverError {
        for _ in 0..LOOKS {
            match self.child.0.as_mut().map(Child::try_wait) {
                Some(Ok(Some(status))) => return HandoverError::Died(status),
                Some(Ok(None)) => tokio::time::sleep(LOOK).await,
                Some(Err(error)) => return HandoverError::Line(error),
                None => break,
            }
        }
        HandoverError::Line(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Ended when dropped.
#[derive(Debug)]
struct Unproven(Option<Child>);

impl Drop for Unproven {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended by itself already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn(program: &Program, passed: Vec<(&'static str, OwnedFd)>) -> io::Result<Child> {
    let names: Vec<&str> = passed.iter().map(|(name, _)| *name).collect();
    let mut command = Command::new(&program.path);
    command
        .args(&program.arguments)
        .env("LISTEN_FDS", names.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDS_FIRST_FD");
    let place = |(child_fd, (_, parent_fd))| FdMapping { parent_fd, child_fd };
    command.fd_mappings((FIRST_FD..).zip(passed).map(place).collect()).map_err(io::Error::other)?;
    command.spawn()
}
