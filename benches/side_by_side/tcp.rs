//! The yardsticks: the same files over one TCP connection, read and written in pieces of 256 KiB.
//! Plain, without encryption and verification; or in TLS 1.3, with the BLAKE3 hash of each file
//! computed at both ends: what any program must do that keeps PeerConnect's promises, in its
//! simplest form. Both without resume and renaming.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use rustls::{StreamOwned, version::TLS13};

const PIECE: usize = 256 * 1024;
const NAME: &str = "receiver";

/// `tcp-receive ADDR FOLDER` or `tcp-send ADDR FOLDER`; the same with `tls-`, and the folder of the
/// receiver's key behind it.
pub(crate) fn run(role: &str, args: &[String]) {
    let (addr, folder) = (&args[0], PathBuf::from(&args[1]));
    match role {
        "tcp-receive" => receive(accept(addr), &folder, Verify::No),
        "tcp-send" => send(connect(addr), &folder, Verify::No),
        "tls-receive" => receive(tls_server(addr, args[2].as_ref()), &folder, Verify::Yes),
        _ => send(tls_client(addr, args[2].as_ref()), &folder, Verify::Yes),
    }
}

/// Makes the receiver's key and certificate.
pub(crate) fn make_key(dir: &Path) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("cert"), made.cert.der()).unwrap();
    std::fs::write(dir.join("key"), made.signing_key.serialize_der()).unwrap();
}

/// Whether files are hashed at both ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verify {
    Yes,
    No,
}

fn accept(addr: &str) -> TcpStream {
    let listener = TcpListener::bind(addr).unwrap();
    println!("ready");
    listener.accept().unwrap().0
}

fn connect(addr: &str) -> TcpStream {
    TcpStream::connect(addr).unwrap()
}

/// As PeerConnect encrypts.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..ring::default_provider()
    })
}

fn certificate(dir: &Path) -> CertificateDer<'static> {
    std::fs::read(dir.join("cert")).unwrap().into()
}

fn tls_server(addr: &str, dir: &Path) -> StreamOwned<ServerConnection, TcpStream> {
    let key = PrivatePkcs8KeyDer::from(std::fs::read(dir.join("key")).unwrap());
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate(dir)], key.into())
        .unwrap();
    let tls = ServerConnection::new(Arc::new(config)).unwrap();
    StreamOwned::new(tls, accept(addr))
}

fn tls_client(addr: &str, dir: &Path) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(dir)).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = NAME.try_into().unwrap();
    let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
    // As much as one write here.
    tls.set_buffer_limit(Some(2 * PIECE));
    StreamOwned::new(tls, connect(addr))
}

fn send(mut stream: impl Read + Write, folder: &Path, verify: Verify) {
    let mut out = BufWriter::with_capacity(PIECE, &mut stream);
    let mut piece = vec![0; PIECE];
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let mut file = File::open(entry.path()).unwrap();
        let size = file.metadata().unwrap().len();
        out.write_all(&(name.len() as u32).to_be_bytes()).unwrap();
        out.write_all(name.as_bytes()).unwrap();
        out.write_all(&size.to_be_bytes()).unwrap();
        let mut hasher = blake3::Hasher::new();
        loop {
            let read = file.read(&mut piece).unwrap();
            if read == 0 {
                break;
            }
            if verify == Verify::Yes {
                hasher.update(&piece[..read]);
            }
            out.write_all(&piece[..read]).unwrap();
        }
        if verify == Verify::Yes {
            out.write_all(hasher.finalize().as_bytes()).unwrap();
        }
    }
    out.write_all(&0u32.to_be_bytes()).unwrap();
    out.flush().unwrap();
    drop(out);
    let mut stored = [0];
    stream.read_exact(&mut stored).unwrap();
}

fn receive(stream: impl Read + Write, folder: &Path, verify: Verify) {
    std::fs::create_dir_all(folder).unwrap();
    let mut input = BufReader::with_capacity(PIECE, stream);
    let mut piece = vec![0; PIECE];
    loop {
        let mut length = [0; 4];
        input.read_exact(&mut length).unwrap();
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 {
            break;
        }
        let mut name = vec![0; length];
        input.read_exact(&mut name).unwrap();
        let mut size = [0; 8];
        input.read_exact(&mut size).unwrap();
        let mut left = u64::from_be_bytes(size) as usize;
        let mut file = File::create(folder.join(String::from_utf8(name).unwrap())).unwrap();
        let mut hasher = blake3::Hasher::new();
        while left > 0 {
            let read = gather(&mut input, &mut piece[..left.min(PIECE)], verify);
            if verify == Verify::Yes {
                hasher.update(&piece[..read]);
            }
            file.write_all(&piece[..read]).unwrap();
            left -= read;
        }
        if verify == Verify::Yes {
            let mut hash = [0; 32];
            input.read_exact(&mut hash).unwrap();
            assert_eq!(hash, *hasher.finalize().as_bytes());
        }
    }
    let mut stream = input.into_inner();
    stream.write_all(b"k").unwrap();
    stream.flush().unwrap();
}

/// What is there; where it is hashed, all of it: BLAKE3 is slow on records of 16 KiB.
fn gather(input: &mut impl Read, piece: &mut [u8], verify: Verify) -> usize {
    match verify {
        Verify::No => input.read(piece).unwrap(),
        Verify::Yes => {
            input.read_exact(piece).unwrap();
            piece.len()
        }
    }
}
