//! Under which addresses the page is served, and to whom: no other page, be it on another port of this machine, and no other name
//! that leads here (DNS rebinding). And what the browser may do with it.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Method, Response, StatusCode, Version, header, request::Parts},
    middleware::Next,
};

use crate::{config::page_origin, http::connections::refuse};

/// The page loads nothing from elsewhere, and nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'none'; \
                      manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; \
                      require-trusted-types-for 'script'; trusted-types storkit";

/// The addresses of the page, as browsers write them: `http://127.0.0.1:3003`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageOrigins(Vec<String>);

impl PageOrigins {
    /// Those of `[web] origin`; by default this machine's own names for the port.
    pub fn new(named: &[String], port: u16) -> Self {
        match named {
            [] => Self(["127.0.0.1", "localhost"].map(|host| format!("http://{host}:{port}")).into()),
            named => Self(named.iter().filter_map(|origin| page_origin(origin)).collect()),
        }
    }

    /// The one that links lead to.
    pub fn first(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    fn has(&self, origin: &str) -> bool {
        self.0.iter().any(|ours| ours == origin)
    }

    fn has_host(&self, host: &str) -> bool {
        self.0.iter().any(|ours| ours.split_once("://").is_some_and(|(_, ours)| ours == host))
    }
}

/// Refuses what another page or another name leads here.
pub async fn only_this_page(
    State(origins): State<Arc<PageOrigins>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match is_ours(&parts, &origins) {
        true => next.run(Request::from_parts(parts, body)).await,
        false => refuse(
            StatusCode::FORBIDDEN,
            "This address is not one of the page's own. `[web] origin` in bot.toml lists them.",
        ),
    }
}

fn is_ours(request: &Parts, origins: &PageOrigins) -> bool {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        // Browsers send it.
        (None, _) if request.version == Version::HTTP_10 => return false,
        _ => None,
    };
    if !host.is_some_and(|host| origins.has_host(host)) {
        return false;
    }
    let mut named = request.headers.get_all(header::ORIGIN).iter();
    match (named.next(), named.next()) {
        // A browser names the origin in every request that does something, and in every upgrade.
        (None, _) => matches!(request.method, Method::GET | Method::HEAD) && request.uri.path() != "/live",
        (Some(origin), None) => origin.to_str().is_ok_and(|origin| origins.has(origin)),
        (Some(_), Some(_)) => false,
    }
}

/// Adds to every answer what the browser may do with it.
pub async fn protect(request: Request, next: Next) -> Response<Body> {
    let is_data = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let policy = header::HeaderName::from_static("cross-origin-opener-policy");
    response.headers_mut().insert(policy, HeaderValue::from_static("same-origin"));
    let policy = header::HeaderName::from_static("cross-origin-resource-policy");
    response.headers_mut().insert(policy, HeaderValue::from_static("same-origin"));
    if is_data {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(method: &str, path: &str, headers: &[(&str, &str)]) -> bool {
        let origins = PageOrigins::new(&[], 3003);
        let request =
            headers.iter().fold(Request::builder().method(method).uri(path), |request, (name, value)| {
                request.header(*name, *value)
            });
        is_ours(&request.body(()).unwrap().into_parts().0, &origins)
    }

    #[test]
    fn the_page_is_served_under_its_own_names_alone() {
        for host in ["127.0.0.1:3003", "localhost:3003"] {
            assert!(passes("GET", "/", &[("host", host)]), "{host}");
        }
        for host in
            ["127.0.0.1:3004", "127.0.0.1", "localhost.evil.example:3003", "evil.example", "[::1]:3003", ""]
        {
            assert!(!passes("GET", "/", &[("host", host)]), "{host}");
        }
        assert!(!passes("GET", "/", &[]));
        assert!(!passes("GET", "/", &[("host", "localhost:3003"), ("host", "evil.example")]));
    }

    #[test]
    fn no_other_page_signs_in_or_follows() {
        let host = ("host", "localhost:3003");
        assert!(passes("POST", "/login", &[host, ("origin", "http://localhost:3003")]));
        assert!(passes("GET", "/live", &[host, ("origin", "http://127.0.0.1:3003")]));
        for (method, path) in [("POST", "/login"), ("POST", "/logout"), ("GET", "/live")] {
            assert!(!passes(method, path, &[host]), "{path} without an origin");
        }
        for origin in ["http://localhost:5173", "http://localhost", "https://localhost:3003", "null", ""] {
            assert!(!passes("GET", "/live", &[host, ("origin", origin)]), "{origin}");
            assert!(!passes("GET", "/api/board", &[host, ("origin", origin)]), "{origin}");
        }
        let twice = [host, ("origin", "http://localhost:3003"), ("origin", "http://evil.example")];
        assert!(!passes("GET", "/live", &twice));
    }

    #[test]
    fn named_origins_are_written_as_browsers_write_them() {
        assert_eq!(page_origin("https://Farm.Example.org:443/").as_deref(), Some("https://farm.example.org"));
        for wrong in
            ["farm.example.org", "ftp://x", "https://x/path", "https://u@x", "https://x/?q", "data:x"]
        {
            assert_eq!(page_origin(wrong), None, "{wrong}");
        }
        let origins = PageOrigins::new(&["https://farm.example.org".into()], 3003);
        assert_eq!(origins.first(), "https://farm.example.org");
        assert!(origins.has_host("farm.example.org") && !origins.has_host("localhost:3003"));
    }
}
