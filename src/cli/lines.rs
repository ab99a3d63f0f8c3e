//! Lines from stdin: what a person types, or a program answers.

use std::io::{BufRead, Read};

use tokio::sync::mpsc;

/// Lines that may wait.
const LINES_MAX: usize = 4;

/// Longest line, in bytes: an answer is a word, or a link.
pub(crate) const LINE_MAX: usize = 4096;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// Without its end.
    Text(String),
    /// More than [`LINE_MAX`] bytes, which were passed over.
    TooLong,
}

/// Where lines come from.
#[derive(Debug)]
pub(crate) enum Lines {
    /// Nothing was asked yet. Who reads without need stops a program in the background.
    NotYet,
    /// They are read.
    Come(mpsc::Receiver<Line>),
    /// There will be no more.
    Ended,
}

impl Lines {
    /// Begins to read, if that has not happened yet. Whether there may be lines.
    pub(crate) fn begin(&mut self) -> bool {
        if matches!(self, Self::NotYet) {
            *self = read_stdin();
        }
        matches!(self, Self::Come(_))
    }

    /// The next line; `None` when there will be no more. Waits for ever where nothing is read.
    /// Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Line> {
        match self {
            Self::Come(lines) => lines.recv().await,
            Self::NotYet | Self::Ended => std::future::pending().await,
        }
    }
}

fn read_stdin() -> Lines {
    let (to, lines) = mpsc::channel(LINES_MAX);
    // Ends with the process: a read from a terminal cannot be called off.
    let reader = std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            let mut stdin = std::io::stdin().lock();
            while let Ok(Some(line)) = read_line(&mut stdin) {
                if to.blocking_send(line).is_err() {
                    break;
                }
            }
        });
    match reader {
        Ok(_) => Lines::Come(lines),
        Err(_) => Lines::Ended,
    }
}

/// Reads to the end of a line; `None` at the end of the stream. Keeps [`LINE_MAX`] bytes at most.
pub(crate) fn read_line(from: &mut impl BufRead) -> std::io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    let room = LINE_MAX as u64 + 1;
    if from.by_ref().take(room).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    } else if bytes.len() > LINE_MAX {
        from.skip_until(b'\n')?;
        return Ok(Some(Line::TooLong));
    }
    Ok(Some(Line::Text(
        String::from_utf8_lossy(&bytes).into_owned(),
    )))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_passed_over_and_the_next_one_read() {
        let long = "x".repeat(LINE_MAX + 1);
        let fits = "y".repeat(LINE_MAX);
        let endless = "z".repeat(LINE_MAX * 100);
        let text = format!("a\n{long}\n\n{fits}\n{endless}\nlast");
        // A buffer that ends in the middle of everything.
        let mut from = std::io::BufReader::with_capacity(7, text.as_bytes());
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut from).unwrap() {
            lines.push(line);
        }
        let text = |text: &str| Line::Text(text.into());
        let expected = [
            text("a"),
            Line::TooLong,
            text(""),
            text(&fits),
            Line::TooLong,
            text("last"),
        ];
        assert_eq!(lines, expected);
    }
}
