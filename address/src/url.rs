//! One reading of an absolute URL: the target of a proxied request, or where a redirect points.
//!
//! Not here: the normal form of the path (the gate). Invariant: the authority ends where every parser ends it, so a
//! character that some read as a delimiter (`\`, a tab, a space, a control) is refused wherever it stands.

use aegis_domain::Scheme;

use crate::{Authority, AuthorityError};

/// An `http` or `https` URL that leaves no room for a second opinion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    pub scheme: Scheme,
    pub authority: Authority,
    /// What follows the authority as it was sent: empty, or beginning with `/` or `?`.
    pub path_and_query: String,
}

/// Why a text is not such a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("the URL is not absolute, or not http or https")]
    Scheme,
    #[error("the URL holds a character that a URL is not written with")]
    Character,
    #[error("the URL has a fragment, which is never sent")]
    Fragment,
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl HttpUrl {
    /// Reads the whole text or refuses it.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
            _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
            _ => return Err(UrlError::Scheme),
        };
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, path_and_query) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if path_and_query.contains('#') {
            return Err(UrlError::Fragment);
        }
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
        if !path_and_query.bytes().all(is_plain) {
            return Err(UrlError::Character);
        }
        let authority = Authority::parse(authority)?;
        Ok(Self { scheme, authority, path_and_query: path_and_query.to_owned() })
    }

    /// The port that is dialled.
    pub fn port(&self) -> u16 {
        let default = match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        self.authority.port.unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostError;

    #[test]
    fn a_url_is_split_where_every_parser_splits_it() {
        let url = HttpUrl::parse("HTTPS://API.example.com/a/b?c=d@e:1/f").unwrap();
        assert_eq!((url.scheme, url.port()), (Scheme::Https, 443));
        assert_eq!(url.authority.to_string(), "api.example.com");
        assert_eq!(url.path_and_query, "/a/b?c=d@e:1/f");
        assert_eq!(HttpUrl::parse("http://a.example").unwrap().port(), 80);
        assert_eq!(HttpUrl::parse("http://a.example?q").unwrap().path_and_query, "?q");
    }

    #[test]
    fn what_parsers_disagree_about_is_refused() {
        for (text, why) in [
            ("ftp://a.example/", UrlError::Scheme),
            ("http:a.example", UrlError::Scheme),
            ("http:/a.example", UrlError::Scheme),
            ("//a.example/", UrlError::Scheme),
            (" http://a.example/", UrlError::Scheme),
            ("http://a.example/#f", UrlError::Fragment),
            ("http://a.example#@b.example", UrlError::Fragment),
            ("http://a.example\\@b.example/", UrlError::Character),
            ("http://a.example/\\b", UrlError::Character),
            ("http://a.example/ b", UrlError::Character),
            ("http://a.example/\r\n", UrlError::Character),
            ("http://a@b.example/", AuthorityError::User.into()),
            ("http://a.example:80@b.example/", AuthorityError::User.into()),
            ("http:///a.example", AuthorityError::Host(HostError::Empty).into()),
            ("http://a.ex\tample/", AuthorityError::Host(HostError::Name).into()),
            ("http://a.example%23.b.example/", AuthorityError::Host(HostError::Percent).into()),
        ] {
            assert_eq!(HttpUrl::parse(text), Err(why), "{text:?}");
        }
    }
}
