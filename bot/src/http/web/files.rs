//! The page's own files, built into the program.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};

use crate::replies;

/// One file of the page.
pub struct BuiltFile {
    /// From the folder of the page, like `assets/main-AbC123.js`.
    pub path: &'static str,
    pub media_type: &'static str,
    pub plain: &'static [u8],
    /// The same, compressed; empty where that is no shorter.
    pub brotli: &'static [u8],
    pub gzip: &'static [u8],
}

// `FILES: &[BuiltFile]` and `BUILD: &str`, the version of the page; empty where `web/dist` was not built.
include!(concat!(env!("OUT_DIR"), "/web_files.rs"));

/// Which version of the page this program has; empty for none.
pub fn build() -> &'static str {
    BUILD
}

/// A file by its path, and the page itself for every other path: it finds its own way.
pub async fn serve(uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    if let Some(file) = FILES.iter().find(|file| file.path == path && path != "index.html") {
        return answer(file, &headers);
    }
    // A script of an older page must not get a page in its place.
    if path.starts_with("assets/") || path.starts_with("api/") {
        return (StatusCode::NOT_FOUND, "There is nothing here.").into_response();
    }
    match FILES.iter().find(|file| file.path == "index.html") {
        Some(file) => answer(file, &headers),
        None => {
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], replies::WEB_NOT_BUILT).into_response()
        }
    }
}

fn answer(file: &BuiltFile, headers: &HeaderMap) -> Response {
    let is_named_by_content = file.path.starts_with("assets/");
    // Only names that change with the content may be kept: pages ran for weeks as an old version elsewhere.
    let caching = if is_named_by_content { "public, max-age=31536000, immutable" } else { "no-cache" };
    let tag = format!("\"{BUILD}\"");
    let fixed = [
        (header::CONTENT_TYPE, HeaderValue::from_static(file.media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
        (header::VARY, HeaderValue::from_static("Accept-Encoding")),
    ];
    let tagged = HeaderValue::from_str(&tag)
        .map(|tag| [(header::ETAG, tag)])
        .unwrap_or_else(|_| [(header::ETAG, HeaderValue::from_static("\"\""))]);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
    if known.is_some_and(|known| known == tag) {
        return (StatusCode::NOT_MODIFIED, fixed, tagged).into_response();
    }
    let (encoding, content) = encoded(file, headers);
    let mut response = (fixed, tagged, content).into_response();
    if let Some(encoding) = encoding {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

/// Whether the browser takes content in this encoding.
pub fn takes(headers: &HeaderMap, encoding: &str) -> bool {
    let accepted =
        headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|one| {
        let mut parts = one.split(';').map(str::trim);
        parts.next() == Some(encoding) && parts.next() != Some("q=0")
    })
}

/// The shortest form that the browser takes.
fn encoded(file: &BuiltFile, headers: &HeaderMap) -> (Option<&'static str>, &'static [u8]) {
    let takes = |name| takes(headers, name);
    match () {
        () if !file.brotli.is_empty() && takes("br") => (Some("br"), file.brotli),
        () if !file.gzip.is_empty() && takes("gzip") => (Some("gzip"), file.gzip),
        () => (None, file.plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_gets_the_shortest_form_that_it_takes() {
        let file = BuiltFile {
            path: "assets/a.js",
            media_type: "text/javascript",
            plain: b"plain",
            brotli: b"br",
            gzip: b"gz",
        };
        let encoding = |accepted: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, accepted.parse().unwrap());
            encoded(&file, &headers).0
        };
        assert_eq!(encoding("gzip, deflate, br;q=1.0"), Some("br"));
        assert_eq!(encoding("gzip, br;q=0"), Some("gzip"));
        assert_eq!(encoding("identity"), None);
        let short = BuiltFile { brotli: b"", gzip: b"", ..file };
        assert_eq!(encoded(&short, &HeaderMap::new()).1, b"plain");
    }
}
