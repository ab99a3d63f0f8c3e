//! Words about texts.

use super::*;

/// What is said about a text that is sent.
pub(crate) fn text_status(t: &TextSnapshot) -> Status {
    let who = Apart(&t.peer_name);
    let size = bytes(t.bytes.into());
    let status = match t.state {
        TextState::Moving => Status::new(Tone::Plain, format!("Text to {who} · {size}")),
        TextState::Asking => Status::new(
            Tone::Plain,
            format!("Text to {who} · {size} · waiting for {who} to accept"),
        ),
        TextState::Delivered => Status::new(Tone::Ok, format!("Text delivered to {who} · {size}")),
        TextState::HandedOver => Status::new(Tone::Ok, format!("Text handed to {who} · {size}"))
            .more("Old versions do not say whether anybody sees it. Not encrypted."),
        TextState::Failed => Status::new(Tone::Warn, format!("Text to {who} was not sent.")),
    };
    match &t.fault {
        Some(fault) => {
            let words = fault.words(Face::Window);
            let more = [words.detail, words.hint];
            let more: Vec<String> = more.into_iter().filter(|s| !s.is_empty()).collect();
            Status::new(Tone::Warn, format!("Text: {}", words.title)).more(more.join(" "))
        }
        None => status,
    }
}

/// Most bytes of a link that is opened.
const LINK_LEN_MAX: usize = 2048;

/// The link and its host, if a text is one link of the web and nothing else. What is no ordinary
/// link is none: letters that look like others, names and passwords before the host.
pub(crate) fn link(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let lower = text.get(..8.min(text.len()))?.to_ascii_lowercase();
    let scheme = ["https://", "http://"]
        .into_iter()
        .find(|s| lower.starts_with(s))?;
    let rest = text.get(scheme.len()..)?;
    let host = rest.split(['/', '?', '#']).next()?;
    let plain = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
    let is_host = !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-.:[]_".contains(c));
    (is_host && text.len() <= LINK_LEN_MAX && text.chars().all(plain)).then_some((text, host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ordinary_links_of_the_web_can_be_opened() {
        for (text, host) in [
            ("https://example.org", "example.org"),
            (" HTTP://example.org:8080/a?b=c#d\n", "example.org:8080"),
            ("http://[::1]/", "[::1]"),
        ] {
            assert_eq!(link(text), Some((text.trim(), host)), "{text}");
        }
        for text in [
            "",
            "https",
            "https://",
            "https:///path",
            "see https://example.org",
            "https://example.org and more",
            "https://a\nhttps://b",
            "https://bank.example@evil.example/",
            "https://ex\u{430}mple.org/",
            "https://example.org/\u{202e}gpj",
            "https://example.org\\@evil.example/",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "ssh://x",
            "-https://x",
            "éééé",
        ] {
            assert_eq!(link(text), None, "{text}");
        }
        let long = format!("https://x/{}", "a".repeat(LINK_LEN_MAX));
        assert_eq!(link(&long), None);
    }
}
