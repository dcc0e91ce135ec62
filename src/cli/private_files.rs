//! Files and folders that only their owner can read: what holds a credential for a while. Where the system has no such
//! modes (Windows), the person's own folder of temporary files is private already.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::session::Lookup;

/// A new folder, gone when it is dropped; below `parent`, or where temporary files are.
pub(super) fn temporary_folder(parent: Option<&Path>) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("breakglass-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    match parent {
        Some(parent) => builder.tempdir_in(parent),
        None => builder.tempdir(),
    }
}

/// The folder of this login, which the system empties by itself (XDG Base Directory Specification).
pub(super) fn runtime_folder(env: Lookup<'_>) -> Option<PathBuf> {
    env("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute() && folder.is_dir())
}

/// The folder of what is kept from one login to the next (XDG Base Directory Specification); on macOS and Windows the place
/// that systems have for it.
pub(super) fn state_folder(env: Lookup<'_>) -> Option<PathBuf> {
    if let Some(folder) = env("XDG_STATE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute()) {
        return Some(folder.join("breakglass"));
    }
    if cfg!(windows) {
        return env("LOCALAPPDATA").map(|folder| PathBuf::from(folder).join("breakglass"));
    }
    let home = PathBuf::from(env("HOME")?);
    let below = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".local/state" };
    home.is_absolute().then(|| home.join(below).join("breakglass"))
}

/// Makes a folder with all that lack above it; what is there stays as it is.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The mode of a file, where it lets others in. On Windows the profile's own rules hold.
pub(super) fn mode_open_to_others(file: &File) -> io::Result<Option<u32>> {
    #[cfg(unix)]
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions()) & 0o777;
    #[cfg(not(unix))]
    let (mode, _) = (0, file);
    Ok((mode & 0o077 != 0).then_some(mode))
}

/// A folder of ours that stays, made where it is missing.
///
/// # Errors
/// When it can't be made, or others can enter it.
pub(super) fn lasting_folder(env: Lookup<'_>) -> io::Result<PathBuf> {
    let folder = match runtime_folder(env) {
        Some(folder) => folder.join("breakglass"),
        None => {
            // In a folder that all share, each person has their own.
            let person = env("USER").or_else(|| env("USERNAME")).unwrap_or_default();
            let plain: String = person.chars().filter(char::is_ascii_alphanumeric).collect();
            std::env::temp_dir().join(format!("breakglass-{plain}"))
        }
    };
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => check_private(&folder)?,
    }
    Ok(folder)
}

/// Somebody else may have been here first: a link, or a folder that lets others in, is not ours.
fn check_private(folder: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    #[cfg(unix)]
    let is_open = std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o077 != 0;
    #[cfg(not(unix))]
    let is_open = false;
    if !found.is_dir() || is_open {
        let what = format!("{} is not a folder of its owner's alone", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    Ok(())
}

/// A new file with this content.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create(path)?.write_all(bytes)
}

/// The same, in place of what is there, and whole at any moment.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map(|_| ()).map_err(|error| error.error)
}

/// A new, empty file.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn state_is_kept_where_the_system_says() {
        let env = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let state = state_folder(&env(&[("XDG_STATE_HOME", "/state"), ("HOME", "/home/a")]));
        assert_eq!(state, Some(PathBuf::from("/state/breakglass")));
        assert!(state_folder(&env(&[("HOME", "relative")])).is_none());
        assert!(state_folder(&env(&[])).is_none());
    }
}
