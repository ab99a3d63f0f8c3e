//! What the desktop knows about this program. With an entry in its applications menu, links and
//! files can be opened with it (XDG Desktop Entry Specification; the handler of a scheme is a MIME
//! type of `x-scheme-handler/`); with one among what it starts, the program is there at once.

use std::fs;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::opened::HIDDEN;

/// Also the window's application id, by which the desktop knows which entry a window belongs to.
pub const APP_ID: &str = "peerconnect";

/// Marks an entry as made by this program.
const OURS: &str = "X-PeerConnect-Made=true";

/// What is to be done with our entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MenuChange {
    /// Make it, or make it anew.
    Add,
    /// Take it out.
    Remove,
    /// Have the program started with the desktop, without a window.
    Start,
    /// Do not.
    StartNoMore,
}

/// One of our entries, as it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// It is there and starts this program.
    There,
    /// It is not there.
    Missing,
    /// There is one that starts something else, or that cannot be read.
    Another,
}

/// What the desktop knows about us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entries {
    /// In its applications menu.
    pub menu: Entry,
    /// Among what it starts.
    pub start: Entry,
}

/// Looks at our entries; `None` where there is no place for them.
pub(crate) fn look() -> Option<Entries> {
    let exe = std::env::current_exe().ok()?;
    let start = Autostart(folder("XDG_CONFIG_HOME", ".config")?);
    Some(Entries {
        menu: Entry::of(&Menu::find()?.entry(), entry(&exe)),
        start: Entry::of(&start.entry(), autostart_entry(&exe)),
    })
}

impl Entry {
    fn of(file: &Path, ours: io::Result<String>) -> Self {
        match fs::read_to_string(file) {
            Ok(text) if ours.is_ok_and(|ours| ours == text) => Self::There,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Missing,
            Ok(_) | Err(_) => Self::Another,
        }
    }
}

/// Changes what the desktop of whoever runs this knows about us. The error is a sentence for
/// people.
pub(crate) fn change(change: MenuChange) -> Result<(), String> {
    let exe = std::env::current_exe().map_err(|error| unable(change, &error))?;
    let no_home = "This account has no home folder.";
    let menu = || Menu::find().ok_or(no_home);
    let start = || {
        folder("XDG_CONFIG_HOME", ".config")
            .map(Autostart)
            .ok_or(no_home)
    };
    match change {
        MenuChange::Add => menu()?.add(&exe),
        MenuChange::Remove => menu()?.remove(),
        MenuChange::Start => start()?.add(&exe),
        MenuChange::StartNoMore => start()?.remove(),
    }
    .map_err(|error| unable(change, &error))?;
    if matches!(change, MenuChange::Add | MenuChange::Remove) {
        menu()?.tell(change);
    }
    Ok(())
}

fn unable(change: MenuChange, error: &io::Error) -> String {
    let what = match change {
        MenuChange::Add | MenuChange::Remove => "The applications menu",
        MenuChange::Start | MenuChange::StartNoMore => "What starts with the computer",
    };
    format!("{what} could not be changed: {error}.")
}

/// A folder of this account, where `variable` says or below its home (XDG Base Directory
/// Specification).
fn folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = std::env::var_os(variable).map(PathBuf::from);
    let set = set.filter(|path| path.is_absolute());
    set.or_else(|| Some(std::env::home_dir()?.join(below_home)))
}

/// What the desktop starts when somebody logs in: an entry in `$XDG_CONFIG_HOME/autostart`
/// (XDG Desktop Application Autostart Specification).
struct Autostart(PathBuf);

impl Autostart {
    fn entry(&self) -> PathBuf {
        self.0.join("autostart").join(format!("{APP_ID}.desktop"))
    }

    fn add(&self, exe: &Path) -> io::Result<()> {
        check_there(exe)?;
        check_ours(&self.entry())?;
        write(&self.entry(), autostart_entry(exe)?.as_bytes())
    }

    fn remove(&self) -> io::Result<()> {
        check_ours(&self.entry())?;
        removed(&self.entry())
    }
}

/// After an update the running program may be gone from where it was started.
fn check_there(exe: &Path) -> io::Result<()> {
    match exe.is_file() {
        true => Ok(()),
        false => {
            let why = "this program is not any more where it was started; start it anew";
            Err(io::Error::other(why))
        }
    }
}

/// An entry that somebody else has made stays as it is.
fn check_ours(entry: &Path) -> io::Result<()> {
    match fs::read_to_string(entry) {
        Ok(text) if text.lines().any(|line| line == OURS) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) | Err(_) => {
            let why = format!("{} was made by somebody else", entry.display());
            Err(io::Error::other(why))
        }
    }
}

fn removed(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Where entries are: `$XDG_DATA_HOME`.
struct Menu(PathBuf);

impl Menu {
    fn find() -> Option<Self> {
        folder("XDG_DATA_HOME", ".local/share").map(Self)
    }

    fn entry(&self) -> PathBuf {
        let name = format!("{APP_ID}.desktop");
        self.0.join("applications").join(name)
    }

    fn picture(&self) -> PathBuf {
        let name = format!("{APP_ID}.png");
        self.0.join("icons/hicolor/64x64/apps").join(name)
    }

    fn add(&self, exe: &Path) -> io::Result<()> {
        check_there(exe)?;
        check_ours(&self.entry())?;
        write(&self.picture(), &picture()?)?;
        write(&self.entry(), entry(exe)?.as_bytes())
    }

    fn remove(&self) -> io::Result<()> {
        check_ours(&self.entry())?;
        removed(&self.entry())?;
        removed(&self.picture())
    }

    /// Desktops that do not watch the folder are told by their own programs, where they have them.
    fn tell(&self, change: MenuChange) {
        let scheme = "x-scheme-handler/peerconnect";
        let name = format!("{APP_ID}.desktop");
        if change == MenuChange::Add {
            run(
                "xdg-mime",
                &["default".as_ref(), name.as_ref(), scheme.as_ref()],
            );
        }
        run("update-desktop-database", &[&self.0.join("applications")]);
    }
}

fn run(program: &str, args: &[&Path]) {
    let status = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if let Err(error) = status {
        tracing::debug!(program, %error, "not here");
    }
}

/// Never half a file: a desktop may read it at any time.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    let new = folder.join(format!(".{APP_ID}-{}", std::process::id()));
    let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // Perhaps it was never there.
        let _ = fs::remove_file(&new);
    }
    written
}

/// The path of this program as an argument of `Exec`.
fn program(exe: &Path) -> io::Result<String> {
    let exe = exe
        .to_str()
        .filter(|exe| !exe.contains(char::is_control))
        .ok_or_else(|| io::Error::other("this program has a name that no menu can hold"))?;
    Ok(quoted(exe))
}

fn autostart_entry(exe: &Path) -> io::Result<String> {
    let exec = format!("{} {HIDDEN}", program(exe)?);
    Ok(desktop_entry("Take files from other computers", &exec, ""))
}

fn entry(exe: &Path) -> io::Result<String> {
    let more = format!(
        "GenericName=File transfer\n\
         Categories=Network;FileTransfer;\n\
         MimeType=x-scheme-handler/peerconnect;\n\
         StartupWMClass={APP_ID}\n"
    );
    let comment = "Send files to other computers, directly and encrypted";
    let exec = format!("{} %U", program(exe)?);
    Ok(desktop_entry(comment, &exec, &more))
}

/// An entry with these values and, in whole lines, more of them.
fn desktop_entry(comment: &str, exec: &str, more: &str) -> String {
    format!(
        "[Desktop Entry]\n\
         Type=Application\n\
         Version=1.0\n\
         Name=PeerConnect\n\
         Comment={comment}\n\
         Icon={APP_ID}\n\
         Exec={exec}\n\
         Terminal=false\n\
         {more}{OURS}\n"
    )
}

/// An argument of `Exec`. The value of a key undoes one layer of `\`, its quotes another; `%`
/// begins a code.
fn quoted(argument: &str) -> String {
    let mut out = String::from("\"");
    for c in argument.chars() {
        match c {
            '\\' => out.push_str("\\\\\\\\"),
            '"' | '`' | '$' => out.extend(["\\\\", c.encode_utf8(&mut [0; 4])]),
            '%' => out.push_str("%%"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn picture() -> io::Result<Vec<u8>> {
    let icon = crate::icons::icon();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(BufWriter::new(&mut bytes), icon.width, icon.height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(io::Error::other)?;
    writer
        .write_image_data(&icon.rgba)
        .map_err(io::Error::other)?;
    writer.finish().map_err(io::Error::other)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_made_made_anew_and_taken_out() {
        let home = tempfile::tempdir().unwrap();
        let menu = Menu(home.path().join("share"));
        menu.remove().unwrap();
        for name in ["peerconnect-gui", "another"] {
            let exe = home.path().join(name);
            menu.add(&exe).unwrap_err();
            fs::write(&exe, "").unwrap();
            menu.add(&exe).unwrap();
            let entry = fs::read_to_string(menu.entry()).unwrap();
            let exec = format!("\nExec=\"{}\" %U\n", exe.display());
            assert!(entry.contains(&exec), "{entry}");
            let found = Entry::of(&menu.entry(), super::entry(&exe));
            assert_eq!(found, Entry::There);
            assert!(entry.contains("\nMimeType=x-scheme-handler/peerconnect;\n"));
        }
        let picture = image::open(menu.picture()).unwrap();
        assert_eq!((picture.width(), picture.height()), (64, 64));
        let files = |folder: &Path| fs::read_dir(folder).unwrap().count();
        assert_eq!(files(menu.entry().parent().unwrap()), 1);
        menu.remove().unwrap();
        assert!(!menu.entry().exists() && !menu.picture().exists());
        let found = Entry::of(&menu.entry(), Ok(String::new()));
        assert_eq!(found, Entry::Missing);
    }

    #[test]
    fn what_somebody_else_has_made_stays() {
        let home = tempfile::tempdir().unwrap();
        let menu = Menu(home.path().to_owned());
        fs::create_dir(home.path().join("applications")).unwrap();
        fs::write(menu.entry(), "[Desktop Entry]\nExec=mine\n").unwrap();
        menu.add(&std::env::current_exe().unwrap()).unwrap_err();
        menu.remove().unwrap_err();
        let found = Entry::of(&menu.entry(), entry(Path::new("/peerconnect-gui")));
        assert_eq!(found, Entry::Another);
        assert!(fs::read_to_string(menu.entry()).unwrap().contains("mine"));
        assert!(!menu.picture().exists());
    }

    #[test]
    fn it_is_started_with_the_desktop_until_it_is_not() {
        let home = tempfile::tempdir().unwrap();
        let start = Autostart(home.path().join("config"));
        start.remove().unwrap();
        let exe = home.path().join("peerconnect-gui");
        start.add(&exe).unwrap_err();
        fs::write(&exe, "").unwrap();
        start.add(&exe).unwrap();
        let entry = fs::read_to_string(start.entry()).unwrap();
        let exec = format!("\nExec=\"{}\" --hidden\n", exe.display());
        assert!(entry.contains(&exec), "{entry}");
        start.remove().unwrap();
        assert!(!start.entry().exists());
        fs::write(start.entry(), "[Desktop Entry]\nExec=mine\n").unwrap();
        start.add(&exe).unwrap_err();
        start.remove().unwrap_err();
    }

    #[test]
    fn names_of_programs_mean_nothing_else_in_an_entry() {
        assert_eq!(quoted("/a b/100%"), "\"/a b/100%%\"");
        assert_eq!(quoted("/a\"`$"), r#""/a\\"\\`\\$""#);
        assert_eq!(quoted("/a\\b"), r#""/a\\\\b""#);
        assert!(entry(Path::new("/a\nExec=evil")).is_err());
    }
}
