//! What servers and images say, for `fuzz/`.

use hyper::http::uri::PathAndQuery;

use super::host::same;
use super::url::{Redirect, Url};
use crate::lifecycle::Scheme;

pub use super::resolve::fuzzing::names;

/// A handler's path, and a `Location` of the answer.
pub fn redirect(path: &str, location: &str) {
    let base = Url::new(Scheme::Http, Some("10.0.0.5"), 8080, path);
    PathAndQuery::try_from(base.target.as_str()).expect("fit for a request line");
    if let Ok(Redirect::Same { url, .. }) = base.redirect(location) {
        assert!(same(&url.host, &base.host) && url.port > 0);
        assert!(url.target.starts_with('/'), "{url:?}");
        PathAndQuery::try_from(url.target.as_str()).expect("fit for a request line");
    }
    assert!(base.to_string().len() < 1024);
}
