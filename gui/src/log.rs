//! The last things that the program has noted for itself, for the page that shows them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that are kept; older ones go.
const LINES_MAX: usize = 500;
/// Bytes of a line.
const LINE_LEN_MAX: usize = 400;

/// The last lines of the log of this process. Cheap to clone; all are the same.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    /// Takes what this process notes from now on: as `PEERCONNECT_LOG` says, otherwise warnings
    /// and what this program itself does. Once for a process; a second time nothing happens.
    pub fn install(&self) {
        let filter = std::env::var("PEERCONNECT_LOG").ok();
        let filter = filter.filter(|filter| !filter.is_empty());
        let filter = filter.unwrap_or_else(|| "warn,peerconnect=info,mainline=off".into());
        let installed = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter))
            .with_writer(self.clone())
            .with_ansi(false)
            .try_init();
        if let Err(error) = installed {
            self.push(&error.to_string());
        }
    }

    /// The lines, oldest first.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }

    fn push(&self, line: &str) {
        let line = line.get(..line.floor_char_boundary(LINE_LEN_MAX));
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line.unwrap_or_default().to_owned());
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Each write is one event, as the log writes them.
impl io::Write for Log {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        for line in String::from_utf8_lossy(event).lines() {
            self.push(line);
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_in_lines_and_in_their_length() {
        let mut log = Log::default();
        for n in 0..LINES_MAX + 7 {
            let text = format!("{n} {}\n", "é".repeat(1000));
            assert!(io::Write::write(&mut log, text.as_bytes()).is_ok());
        }
        let lines = log.lines();
        assert_eq!(lines.len(), LINES_MAX);
        assert!(lines[0].starts_with("7 ") && lines[0].len() <= LINE_LEN_MAX);
    }
}
