//! One to many: files that go to several receivers, as one transfer.
//!
//! Each receiver has a transfer of its own, as if it were the only one: it answers for itself, and
//! what holds it up holds up nobody else. A [`session::Session`] is what keeps them together, and a
//! [`tree::Tree`] decides which of them passes content on to which.

pub mod feeding;
pub mod origin;
pub mod serving;
pub mod session;
pub mod tree;
