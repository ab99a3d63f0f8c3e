//! Why one file was not saved, as a fault.

use super::Fault;
use crate::protocol::message::SinkFault;

impl Fault {
    /// Why the file at `path`, below the folder, was not saved.
    pub fn of_file(path: &str, why: SinkFault) -> Self {
        let path = path.to_owned();
        match why {
            SinkFault::Name => Self::BadName { name: path },
            SinkFault::Exists => Self::NameExists { path },
            SinkFault::CannotWrite => Self::CannotWrite {
                path: path.into(),
                why: "the disk or its permissions do not allow it".into(),
            },
            SinkFault::Damaged => Self::VerifyFailed { path },
            SinkFault::Source(reason) => Self::Source { path, reason },
            SinkFault::Cancelled => Self::Cancelled,
            SinkFault::Unsupported => Self::NoLinks { path },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_an_old_version_cannot_take_is_not_blamed_on_its_disk() {
        let fault = Fault::of_file("a/link", SinkFault::Unsupported);
        assert_eq!((fault.slug(), fault.exit_code()), ("no-links", 15));
    }
}
