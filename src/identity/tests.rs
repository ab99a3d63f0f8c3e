use super::*;
use std::fs;

fn certs(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("certs")
        .join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_same_folder_gives_the_same_identity_and_another_one_another() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = one.path().join("deep/config");
    let id = Identity::load_or_create(&dir).unwrap().id();
    assert_eq!(Identity::load_or_create(&dir).unwrap().id(), id);
    assert_ne!(Identity::load_or_create(two.path()).unwrap().id(), id);
    let names: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, [KEY_FILE], "nothing else is left behind");
}

#[test]
fn a_new_identity_takes_the_place_of_the_old_one_which_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| fs::read(dir.path().join(name)).ok();
    let mut before = Identity::load_or_create(dir.path()).unwrap().id();
    for _ in 0..2 {
        let key = file(KEY_FILE);
        let new = Identity::renew(dir.path()).unwrap().id();
        assert_ne!(new, before);
        assert_eq!(Identity::load_or_create(dir.path()).unwrap().id(), new);
        assert_eq!(file(OLD_KEY_FILE), key);
        before = new;
    }
    let empty = tempfile::tempdir().unwrap();
    Identity::renew(empty.path()).unwrap();
}

#[cfg(unix)]
#[test]
fn the_key_is_for_its_owner_only_and_refused_if_it_is_not() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("config");
    Identity::load_or_create(&dir).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = dir.join(KEY_FILE);
    assert_eq!((mode(&dir), mode(&file)), (0o700, 0o600));
    for exposed in [0o640, 0o604, 0o620] {
        fs::set_permissions(&file, fs::Permissions::from_mode(exposed)).unwrap();
        assert!(
            matches!(
                Identity::load_or_create(&dir),
                Err(IdentityError::Exposed { .. })
            ),
            "{exposed:o}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_damaged_key_is_reported_and_never_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(KEY_FILE);
    for content in ["", "not a key", "\u{0}"] {
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(
            Identity::load_or_create(dir.path()),
            Err(IdentityError::Damaged { .. })
        ));
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
    }
}

#[test]
fn programs_that_start_at_once_agree_on_one_identity() {
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<PeerId> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Identity::load_or_create(dir.path()).map(|i| i.id())))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap().unwrap())
            .collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn a_certificate_carries_the_id_whatever_else_it_says() {
    let identity = Identity::generate().unwrap();
    assert_eq!(
        peer_id_of_certificate(identity.certificate()),
        Ok(identity.id())
    );
    let expired = peer_id_of_certificate(&certs("expired.der")).unwrap();
    let future = peer_id_of_certificate(&certs("not-yet-valid.der")).unwrap();
    assert_eq!(expired, future, "made of the same key");
}

#[test]
fn other_certificates_are_no_peers() {
    for name in [
        "p256.der",
        "truncated.der",
        "trailing.der",
        "no-certificate.der",
    ] {
        assert_eq!(
            peer_id_of_certificate(&certs(name)),
            Err(InvalidCertificate),
            "{name}"
        );
    }
}

#[test]
fn the_key_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::load_or_create(dir.path()).unwrap();
    let pem = fs::read_to_string(dir.path().join(KEY_FILE)).unwrap();
    let secret = pem.lines().nth(1).unwrap();
    let shown = format!("{identity:?}");
    assert!(!shown.contains(secret), "{shown}");
    assert!(shown.contains(&identity.id().short()), "{shown}");
}

#[test]
fn random_bytes_differ() {
    let identity = Identity::generate().unwrap();
    assert_ne!(
        identity.random::<16>().unwrap(),
        identity.random::<16>().unwrap()
    );
}

/// Writes the files in `certs/` anew; their keys are thrown away. Run with `--ignored` when one
/// has to be added.
#[test]
#[ignore = "changes files of the repository"]
fn make_certificates() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    let key = new_key().unwrap();
    let make = |key: &KeyPair, from: i32, to: i32| {
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        params.self_signed(key).unwrap().der().to_vec()
    };
    let expired = make(&key, 1990, 1991);
    let p256 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).unwrap();
    write("expired.der", &expired);
    write("not-yet-valid.der", &make(&key, 2990, 2991));
    write("p256.der", &make(&p256, 1990, 2991));
    write("truncated.der", &expired[..expired.len() - 1]);
    write("trailing.der", &[expired.as_slice(), &[0]].concat());
    write("no-certificate.der", &key.subject_public_key_info());
}
