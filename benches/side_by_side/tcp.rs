//! The yardstick: the same files over one plain TCP connection, read and written in pieces of
//! 256 KiB. No encryption, no verification, no resume, no renaming.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

const PIECE: usize = 256 * 1024;

/// `tcp-receive ADDR FOLDER` or `tcp-send ADDR FOLDER`.
pub(crate) fn run(role: &str, args: &[String]) {
    let (addr, folder) = (&args[0], PathBuf::from(&args[1]));
    match role {
        "tcp-receive" => receive(addr, &folder),
        _ => send(addr, &folder),
    }
}

fn send(addr: &str, folder: &Path) {
    let stream = TcpStream::connect(addr).unwrap();
    let mut out = BufWriter::with_capacity(PIECE, &stream);
    let mut piece = vec![0; PIECE];
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let mut file = File::open(entry.path()).unwrap();
        let size = file.metadata().unwrap().len();
        out.write_all(&(name.len() as u32).to_be_bytes()).unwrap();
        out.write_all(name.as_bytes()).unwrap();
        out.write_all(&size.to_be_bytes()).unwrap();
        loop {
            match file.read(&mut piece).unwrap() {
                0 => break,
                n => out.write_all(&piece[..n]).unwrap(),
            }
        }
    }
    out.write_all(&0u32.to_be_bytes()).unwrap();
    out.flush().unwrap();
    let mut stored = [0];
    (&stream).read_exact(&mut stored).unwrap();
}

fn receive(addr: &str, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let listener = TcpListener::bind(addr).unwrap();
    println!("ready");
    let (stream, _) = listener.accept().unwrap();
    let mut input = BufReader::with_capacity(PIECE, &stream);
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
        while left > 0 {
            let n = left.min(PIECE);
            let n = input.read(&mut piece[..n]).unwrap();
            file.write_all(&piece[..n]).unwrap();
            left -= n;
        }
    }
    (&stream).write_all(b"k").unwrap();
}
