//! The command line of PeerConnect.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
