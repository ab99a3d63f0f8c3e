//! Where the program keeps its things, on every system and without `HOME` or a session.

use std::io;
use std::path::{Path, PathBuf};

use directories::{ProjectDirs, UserDirs};

/// Longest path of a socket, in bytes: `sun_path` has 108 on Linux and 104 elsewhere, and its
/// closing zero.
const SOCKET_PATH_MAX: usize = 103;

const SOCKET_NAME: &str = "control.sock";

/// The folders of one installation. They may be the same folder, so names in them must differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Settings.
    pub config: PathBuf,
    /// Identity key.
    pub data: PathBuf,
    /// Peers, history, journals, lock.
    pub state: PathBuf,
    /// Control socket; short enough for one.
    pub runtime: PathBuf,
}

impl Paths {
    /// The folders of this user; everything below `dir` or `PEERCONNECT_CONFIG_DIR` if given.
    /// Nothing is created.
    pub fn find(dir: Option<&Path>) -> Self {
        let from_env = || std::env::var_os("PEERCONNECT_CONFIG_DIR").filter(|v| !v.is_empty());
        match dir
            .map(Path::to_owned)
            .or_else(|| from_env().map(PathBuf::from))
        {
            Some(dir) => Self::below(&dir),
            None => Self::of_user(),
        }
    }

    /// Everything below one folder.
    pub fn below(dir: &Path) -> Self {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        Self {
            runtime: short_enough(&dir, &session_folder().unwrap_or_else(std::env::temp_dir)),
            config: dir.clone(),
            data: dir.clone(),
            state: dir,
        }
    }

    fn of_user() -> Self {
        let Some(dirs) = ProjectDirs::from("", "", "PeerConnect") else {
            // No home at all: still better to run than not to.
            return Self::below(&std::env::temp_dir().join(format!("peerconnect-{}", user())));
        };
        let data = dirs.data_local_dir().to_owned();
        let runtime = match session_folder() {
            Some(folder) => folder.join("peerconnect"),
            None => short_enough(&data, &std::env::temp_dir()),
        };
        Self {
            config: dirs.config_dir().to_owned(),
            state: dirs.state_dir().unwrap_or(&data).to_owned(),
            data,
            runtime,
        }
    }

    /// The settings.
    pub fn settings_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// Where the journals of incoming transfers lie.
    pub fn journals(&self) -> PathBuf {
        self.state.join("incoming")
    }

    /// The socket by which faces reach the running instance.
    pub fn control_socket(&self) -> PathBuf {
        self.runtime.join(SOCKET_NAME)
    }

    /// Creates the folders, readable by their owner only.
    pub fn create(&self) -> io::Result<()> {
        for folder in [&self.config, &self.data, &self.state, &self.runtime] {
            create_private_dir(folder)?;
        }
        Ok(())
    }
}

/// Creates a folder and those above it, readable by its owner only, and makes sure that it is
/// ours: in a shared temporary folder somebody else may have put something of that name there.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let metadata = std::fs::metadata(path)?;
        let owner = metadata.uid();
        if owner != user() {
            let why = format!("{} belongs to user {owner}", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        if metadata.mode() & 0o022 != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
        }
    }
    Ok(())
}

/// `dir` if a socket in it has a path that the system can take, otherwise a folder below `base`
/// that is the same for the same `dir`.
fn short_enough(dir: &Path, base: &Path) -> PathBuf {
    if dir.join(SOCKET_NAME).as_os_str().len() <= SOCKET_PATH_MAX {
        return dir.to_owned();
    }
    let hash = blake3::hash(dir.as_os_str().as_encoded_bytes()).to_hex();
    let name = format!(
        "peerconnect-{}-{}",
        user(),
        hash.get(..16).unwrap_or_default()
    );
    let folder = base.join(&name);
    if folder.join(SOCKET_NAME).as_os_str().len() <= SOCKET_PATH_MAX {
        folder
    } else {
        Path::new("/tmp").join(name)
    }
}

/// The folder of the login session: as the environment says, or where it always is on Linux, so
/// that a command from `cron` or `su` finds what the window started.
fn session_folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
        && folder.is_absolute()
    {
        return Some(folder);
    }
    let usual = PathBuf::from(format!("/run/user/{}", user()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(&usual).ok()?;
        (metadata.is_dir() && metadata.uid() == user()).then_some(usual)
    }
    #[cfg(not(unix))]
    None
}

#[cfg(unix)]
fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(not(unix))]
fn user() -> u32 {
    0
}

/// `PeerConnect` in the download folder, or the nearest thing to that.
pub(super) fn download_folder() -> PathBuf {
    let base = match UserDirs::new() {
        Some(dirs) => match dirs.download_dir() {
            Some(downloads) => downloads.to_owned(),
            None => dirs.home_dir().join("Downloads"),
        },
        None => std::env::current_dir().unwrap_or_else(|_| std::env::temp_dir()),
    };
    base.join("PeerConnect")
}

/// What the system calls this computer.
pub(super) fn host_name() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    if name.trim().is_empty() {
        "computer".into()
    } else {
        name
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_long_folder_gets_a_short_place_for_its_socket_always_the_same() {
        let base = Path::new("/run/user/1000");
        let short = Path::new("/home/a/.local/share/peerconnect");
        assert_eq!(short_enough(short, base), short);
        let long = PathBuf::from(format!("/{}", "long/".repeat(40)));
        let other = PathBuf::from(format!("/{}", "lang/".repeat(40)));
        let place = short_enough(&long, base);
        assert!(place.starts_with(base) && place != base);
        assert!(place.join(SOCKET_NAME).as_os_str().len() <= SOCKET_PATH_MAX);
        assert_eq!(place, short_enough(&long, base));
        assert_ne!(place, short_enough(&other, base));
        let place = short_enough(&long, &other);
        assert!(place.join(SOCKET_NAME).as_os_str().len() <= SOCKET_PATH_MAX);
    }

    #[test]
    fn one_folder_can_hold_everything() {
        let paths = Paths::below(Path::new("/srv/pc"));
        for path in [&paths.config, &paths.data, &paths.state, &paths.runtime] {
            assert_eq!(path, Path::new("/srv/pc"));
        }
    }

    #[cfg(unix)]
    #[test]
    fn created_folders_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        create_private_dir(&inner).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&inner), 0o700);
        std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o777)).unwrap();
        create_private_dir(&inner).unwrap();
        assert_eq!(mode(&inner), 0o700, "others can no longer write");
    }
}
