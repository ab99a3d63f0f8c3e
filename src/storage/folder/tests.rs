use super::*;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, symlink};

fn path(text: &str) -> SafePath {
    SafePath::parse(text).unwrap()
}

/// The folder with and without `openat2`.
fn both(dir: &Path) -> [Folder; 2] {
    let with = Folder::open(dir).unwrap();
    let without = with.without_openat2();
    [with, without]
}

#[test]
fn the_folder_is_made_with_its_parents_and_left_empty_by_checks() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(&dir.path().join("a/b")).unwrap();
    folder.check_writable().unwrap();
    folder.new_file_mode(false);
    assert!(folder.space().unwrap().free > 0);
    assert_eq!(folder.path(), dir.path().join("a/b"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_place_that_is_no_folder_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    assert!(Folder::open(&dir.path().join("file")).is_err());
    assert!(Folder::open(&dir.path().join("file/below")).is_err());
}

#[test]
fn looking_tells_what_is_there_without_following_links() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("sub/deep")).unwrap();
    std::fs::write(dir.path().join("sub/file"), "12345").unwrap();
    let modified = Timestamp(-1_500_000_001);
    let file = File::options()
        .write(true)
        .open(dir.path().join("sub/file"));
    futimens(file.unwrap(), &times(modified)).unwrap();
    symlink("sub/file", dir.path().join("link")).unwrap();
    symlink("sub", dir.path().join("dirlink")).unwrap();
    for folder in both(dir.path()) {
        let look = |text: &str| folder.looks().look(&path(text)).unwrap();
        assert_eq!(look("nothing"), Existing::Nothing);
        assert_eq!(look("no/such/parent"), Existing::Nothing);
        let file = Existing::File { size: 5, modified };
        assert_eq!(look("sub/file"), file);
        assert_eq!(look("sub/deep"), Existing::Folder);
        assert_eq!(look("link"), Existing::Other);
        assert_eq!(look("sub/file/below"), Existing::Other);
        assert_eq!(look("dirlink/file"), Existing::Other);
    }
}

#[test]
fn only_regular_files_are_opened_and_nothing_waits() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("sub/file"), "text").unwrap();
    symlink("file", dir.path().join("sub/link")).unwrap();
    symlink("sub", dir.path().join("dirlink")).unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    for folder in both(dir.path()) {
        let mut text = String::new();
        let mut file = folder.open_file(&path("sub/file")).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        for other in ["sub", "sub/link", "dirlink/file", "fifo", "nothing"] {
            assert!(folder.open_file(&path(other)).is_err(), "{other}");
        }
    }
}

#[test]
fn folders_are_made_with_parents_and_never_through_a_link() {
    let outside = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    symlink(outside.path(), dir.path().join("link")).unwrap();
    std::fs::create_dir(outside.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    for (n, folder) in both(dir.path()).iter().enumerate() {
        let made = path(&format!("a{n}/b/c"));
        folder.make_folder(&made).unwrap();
        folder.make_folder(&made).unwrap();
        folder
            .set_folder_time(&made, Timestamp(-1_500_000_000))
            .unwrap();
        let metadata = dir.path().join(made.as_str()).metadata().unwrap();
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (-2, 500_000_000));
        assert!(folder.make_folder(&path("link/x")).is_err());
        assert!(folder.make_folder(&path("link")).is_err());
        assert!(folder.make_folder(&path("link/sub")).is_err());
        assert!(folder.make_folder(&path("link/sub/x/y")).is_err());
        assert!(folder.make_symlink(&path("link/sub/x"), "y").is_err());
        let seen = folder.looks().look(&path("link/sub/x")).unwrap();
        assert_eq!(seen, Existing::Other);
        assert!(folder.make_folder(&path("file/x")).is_err());
        assert!(folder.set_folder_time(&path("link"), Timestamp(0)).is_err());
        folder.sync().unwrap();
        assert!(folder.unsynced().is_empty());
    }
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(
        std::fs::read_dir(outside.path().join("sub"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_folder_that_was_moved_away_does_not_stop_the_sync_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    folder.make_folder(&path("a/b")).unwrap();
    std::fs::rename(dir.path().join("a"), dir.path().join("c")).unwrap();
    folder.sync().unwrap();
}

#[test]
fn links_are_made_only_if_they_stay_inside() {
    let dir = tempfile::tempdir().unwrap();
    for (n, folder) in both(dir.path()).iter().enumerate() {
        let link = path(&format!("top{n}/sub/link"));
        folder.make_symlink(&link, "../other").unwrap();
        folder.make_symlink(&link, "../other").unwrap();
        let taken = folder.make_symlink(&link, "else").unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        let leaving = folder.make_symlink(&path("top/x"), "../y").unwrap_err();
        assert_eq!(leaving.kind(), io::ErrorKind::InvalidInput);
        let target = std::fs::read_link(dir.path().join(link.as_str())).unwrap();
        assert_eq!(target, Path::new("../other"));
    }
    assert!(!dir.path().join("top").exists());
}
