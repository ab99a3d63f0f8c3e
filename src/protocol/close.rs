//! Why streams and connections end.

/// Application error codes with which streams are reset or stopped and connections closed
/// (RFC 9000, section 20.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Code {
    /// Nothing is wrong: the program ends, or the work is done.
    Done = 0,
    /// The peer broke the protocol.
    Offence = 1,
    /// The transfer is not known (any more).
    UnknownTransfer = 2,
    /// Paused: the stream is given up, its verified groups are kept.
    Paused = 3,
    /// Cancelled by a person.
    Cancelled = 4,
    /// A newer connection to the same peer took over.
    Replaced = 5,
    /// This peer is not wanted.
    Refused = 6,
    /// Too much at once; try again later.
    Busy = 7,
    /// A fault of this side: disk or program.
    Internal = 8,
}
