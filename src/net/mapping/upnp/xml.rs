//! The names and texts of an XML document (XML 1.0), of any size that HTTP lets through.
//!
//! No entity is known but the five of XML itself, and nothing is fetched.

use std::ops::ControlFlow;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};

/// Most elements within each other. A router's own description has nine.
const DEPTH_MAX: usize = 32;
/// Longest text of an element that is told; of a longer one nothing is.
const TEXT_LEN_MAX: usize = 1024;

/// Something in a document. Names are without their prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// An element begins.
    Begin(&'a str),
    /// It ends: its name, and the text in it that comes after all elements in it.
    End(&'a str, &'a str),
}

/// It is not XML, or not such as a router has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the XML of a router")]
pub struct NotXml;

/// Tells what is in a document, until `tell` has heard enough. What comes before an error is told.
pub(super) fn read(
    bytes: &[u8],
    mut tell: impl FnMut(Found<'_>) -> ControlFlow<()>,
) -> Result<(), NotXml> {
    // Names and addresses are ASCII in all encodings that routers have.
    let text = String::from_utf8_lossy(bytes);
    let mut reader = Reader::from_str(&text);
    let config = reader.config_mut();
    config.expand_empty_elements = true;
    // Some routers write addresses with it.
    config.allow_dangling_amp = true;
    let mut depth = 0_usize;
    let mut inner = Text::default();
    loop {
        match reader.read_event().map_err(|_| NotXml)? {
            Event::Start(start) => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(NotXml);
                }
                inner = Text::default();
                if tell(Found::Begin(start.local_name().into_inner())).is_break() {
                    return Ok(());
                }
            }
            Event::End(end) => {
                depth = depth.checked_sub(1).ok_or(NotXml)?;
                let text = std::mem::take(&mut inner);
                let found = Found::End(end.local_name().into_inner(), text.told());
                if tell(found).is_break() {
                    return Ok(());
                }
            }
            Event::Text(text) => inner.add(&text),
            Event::CData(text) => inner.add(&text),
            Event::GeneralRef(name) => inner.add_reference(&name)?,
            Event::Eof => return if depth == 0 { Ok(()) } else { Err(NotXml) },
            Event::Empty(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_) => {}
        }
    }
}

/// The text of an element.
#[derive(Debug, Default)]
struct Text {
    text: String,
    is_too_long: bool,
}

impl Text {
    fn add(&mut self, more: &str) {
        self.is_too_long |= self.text.len() + more.len() > TEXT_LEN_MAX;
        if !self.is_too_long {
            self.text.push_str(more);
        }
    }

    fn add_reference(&mut self, name: &BytesRef<'_>) -> Result<(), NotXml> {
        let letter = name.resolve_char_ref().map_err(|_| NotXml)?;
        match (letter, resolve_predefined_entity(name)) {
            (Some(letter), _) => self.add(letter.encode_utf8(&mut [0; 4])),
            (None, Some(text)) => self.add(text),
            (None, None) => return Err(NotXml),
        }
        Ok(())
    }

    fn told(&self) -> &str {
        match self.is_too_long {
            true => "",
            false => self.text.trim(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(text: &str) -> Result<String, NotXml> {
        let mut found = String::new();
        read(text.as_bytes(), |one| {
            match one {
                Found::Begin(name) => found.push_str(&format!("<{name}")),
                Found::End(name, text) => found.push_str(&format!("[{text}]{name}>")),
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    #[test]
    fn names_and_texts_are_told() {
        let text = "\u{feff}<?xml version=\"1.0\"?><!DOCTYPE a><s:a x='1'> <!-- no --><b> 1&amp;\
                    &#50;<![CDATA[<3>]]> </b><c/></s:a>\r\n";
        assert_eq!(leaves(text).as_deref(), Ok("<a<b[1&2<3>]b><c[]c>[]a>"));
        assert_eq!(leaves("<a>?b=1&c=2</a>").as_deref(), Ok("<a[?b=1&c=2]a>"));
    }

    #[test]
    fn what_a_router_would_not_have_is_refused() {
        let deep = "<a>".repeat(DEPTH_MAX + 1) + &"</a>".repeat(DEPTH_MAX + 1);
        let bomb = "<!DOCTYPE a [<!ENTITY b 'bbbb'>]><a>&b;</a>";
        for text in [
            "<a>",
            "<a></b>",
            "</a>",
            "<a>&b;</a>",
            "<a>&#xfffffff;</a>",
            &deep,
            bomb,
        ] {
            assert_eq!(leaves(text), Err(NotXml), "{text}");
        }
        let deepest = "<a>".repeat(DEPTH_MAX) + &"</a>".repeat(DEPTH_MAX);
        assert!(leaves(&deepest).is_ok());
        let long = "x".repeat(TEXT_LEN_MAX);
        assert_eq!(
            leaves(&format!("<a>{long}</a>")),
            Ok(format!("<a[{long}]a>"))
        );
        assert_eq!(leaves(&format!("<a>{long}y</a>")).as_deref(), Ok("<a[]a>"));
        assert_eq!(
            leaves(&format!("<a>{long}&lt;</a>")).as_deref(),
            Ok("<a[]a>")
        );
    }
}
