//! Where something is at the router.

use std::net::Ipv4Addr;

/// Longest path that is asked for, with its query.
pub const PATH_LEN_MAX: usize = 512;

/// A place at the router, by HTTP. There is no host in it: nobody else can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Never 0.
    pub port: u16,
    /// Begins with a slash; printable ASCII without spaces, [`PATH_LEN_MAX`] bytes at most.
    pub path: String,
}

impl Url {
    /// A whole address (RFC 3986), if it is plain HTTP at exactly the IPv4 address of `gateway`.
    pub fn absolute(text: &str, gateway: Ipv4Addr) -> Option<Self> {
        const SCHEME: &str = "http://";
        let (scheme, rest) = text.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, port_of(port)?),
            None => (authority, 80),
        };
        let is_gateway = host.parse() == Ok(gateway);
        is_gateway.then(|| Self::at(port, path)).flatten()
    }

    /// What `reference` means in a document that is here, if that is at the router, too.
    pub fn join(&self, reference: &str, gateway: Ipv4Addr) -> Option<Self> {
        if reference.starts_with("//") {
            return Self::absolute(&format!("http:{reference}"), gateway);
        }
        if reference.starts_with('/') {
            return Self::at(self.port, reference);
        }
        let first = reference.split(['/', '?', '#']).next()?;
        if first.contains(':') {
            return Self::absolute(reference, gateway);
        }
        let here = self.path.split('?').next()?;
        let (folder, _) = here.rsplit_once('/')?;
        (!reference.is_empty())
            .then(|| Self::at(self.port, &format!("{folder}/{reference}")))
            .flatten()
    }

    fn at(port: u16, path: &str) -> Option<Self> {
        // What comes behind is for those who show the document.
        let path = path.split('#').next()?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        let path = format!("{slash}{path}");
        let is_good =
            path.len() <= PATH_LEN_MAX && path.bytes().all(|byte| byte.is_ascii_graphic());
        is_good.then_some(Self { port, path })
    }
}

fn port_of(digits: &str) -> Option<u16> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = is_number.then(|| digits.parse().ok()).flatten()?;
    (port != 0).then_some(port)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

    fn shown(url: Option<Url>) -> Option<String> {
        url.map(|url| format!("{} {}", url.port, url.path))
    }

    #[test]
    fn only_plain_http_at_the_address_of_the_router_is_a_place_to_ask() {
        for (text, place) in [
            ("http://192.168.1.1:5000/a.xml", Some("5000 /a.xml")),
            ("HTTP://192.168.1.1/a?b=c#d", Some("80 /a?b=c")),
            ("http://192.168.1.1", Some("80 /")),
            ("http://192.168.1.1?x", Some("80 /?x")),
            ("http://192.168.1.2/a.xml", None),
            ("http://192.168.1.1.evil.example/", None),
            ("http://192.168.1.1@evil.example/", None),
            ("http://evil.example/192.168.1.1", None),
            ("http://router/", None),
            ("http://3232235777/", None),
            ("http://0xc0.168.1.1/", None),
            ("https://192.168.1.1/", None),
            ("ftp://192.168.1.1/", None),
            ("http://192.168.1.1:0/", None),
            ("http://192.168.1.1:/", None),
            ("http://192.168.1.1:+80/", None),
            ("http://192.168.1.1:65536/", None),
            ("http://192.168.1.1:80:80/", None),
            ("http://192.168.1.1/a b", None),
            ("http://192.168.1.1/a\r\nHost: b", None),
            ("http://192.168.1.1/\u{e4}", None),
            ("http://", None),
            ("http:/\u{e4}/", None),
            ("", None),
        ] {
            let found = shown(Url::absolute(text, ROUTER));
            assert_eq!(found.as_deref(), place, "{text:?}");
        }
        let long = "a".repeat(PATH_LEN_MAX);
        assert_eq!(
            Url::absolute(&format!("http://192.168.1.1/{long}"), ROUTER),
            None
        );
    }

    #[test]
    fn a_reference_stays_at_the_router() {
        let base = Url::absolute("http://192.168.1.1:5000/igd/root.xml?a/b", ROUTER).unwrap();
        for (text, place) in [
            ("/ctl", Some("5000 /ctl")),
            ("ctl/IP?x=1", Some("5000 /igd/ctl/IP?x=1")),
            ("?x=a:b", Some("5000 /igd/?x=a:b")),
            ("http://192.168.1.1:80/ctl", Some("80 /ctl")),
            ("//192.168.1.1:81/ctl", Some("81 /ctl")),
            ("http://192.168.1.9/ctl", None),
            ("//192.168.1.9/ctl", None),
            ("https://192.168.1.1/ctl", None),
            ("javascript:alert", None),
            ("", None),
            ("/a b", None),
        ] {
            let found = shown(base.join(text, ROUTER));
            assert_eq!(found.as_deref(), place, "{text:?}");
        }
    }
}
