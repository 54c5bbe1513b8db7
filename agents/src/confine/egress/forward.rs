//! Serves a request that the egress proxy admits: a tunnel, or one request with its answer.

use std::{net::SocketAddr, sync::Arc};

use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    client,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{io::copy_bidirectional, net::TcpStream, sync::OwnedSemaphorePermit};

use super::{Answer, EgressRefusal, EgressShared, unreachable};

/// The only paths of storkit's own listener that are reachable from inside, for an agent's tools, its calls and what people say to it: events and
/// metrics are not for agents.
const OWN_PATHS: [&str; 3] = ["/mcp", "/messages", "/calls"];

/// Hop-by-hop headers (RFC 9110, 7.6.1), in addition to those that `Connection` names.
const HOP_BY_HOP: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade"];

/// `CONNECT host:port`: bytes both ways, once we are through.
pub(super) async fn tunnel(
    shared: &Arc<EgressShared>,
    request: Request<Incoming>,
    place: Arc<OwnedSemaphorePermit>,
) -> Result<Answer, EgressRefusal> {
    let wrong = || EgressRefusal(StatusCode::BAD_REQUEST, "CONNECT needs a host and a port.".into());
    let authority = request.uri().authority().cloned().ok_or_else(wrong)?;
    let port = authority.port_u16().ok_or_else(wrong)?;
    let mut stream = shared.connect(&authority, port).await?;
    // The tunnel outlives its request, and so must its permit.
    shared.spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let _ = copy_bidirectional(&mut TokioIo::new(upgraded), &mut stream).await;
        }
        drop(place);
    });
    Ok(Response::new(Either::Right(Full::default())))
}

/// `GET http://host/path`.
pub(super) async fn pass_on(
    shared: &Arc<EgressShared>,
    mut request: Request<Incoming>,
) -> Result<Answer, EgressRefusal> {
    let whole = request.uri().clone();
    let (Some("http"), Some(authority)) = (whole.scheme_str(), whole.authority()) else {
        return Err(EgressRefusal(
            StatusCode::BAD_REQUEST,
            "This is a proxy: CONNECT to a host, or ask for a whole address that begins with http://.".into(),
        ));
    };
    let stream = shared.connect(authority, authority.port_u16().unwrap_or(80)).await?;
    // The host that was checked, whatever the header names.
    let host = HeaderValue::from_str(authority.as_str());
    let host =
        host.map_err(|_| EgressRefusal(StatusCode::BAD_REQUEST, "The host cannot be a header.".into()))?;
    request.headers_mut().insert(header::HOST, host);
    forward(shared, request, stream).await
}

pub(super) async fn own_tools(
    shared: &Arc<EgressShared>,
    own: SocketAddr,
    request: Request<Incoming>,
) -> Result<Answer, EgressRefusal> {
    if !OWN_PATHS.contains(&request.uri().path()) {
        return Err(EgressRefusal(
            StatusCode::FORBIDDEN,
            "Only /mcp, /messages and /calls are reached from a sandbox.".into(),
        ));
    }
    let stream = TcpStream::connect(own).await;
    let stream = stream.map_err(|error| unreachable(&own.ip().to_string(), own.port(), &error))?;
    forward(shared, request, stream).await
}

/// One request and its answer, over a connection of their own.
async fn forward(
    shared: &Arc<EgressShared>,
    mut request: Request<Incoming>,
    stream: TcpStream,
) -> Result<Answer, EgressRefusal> {
    let failed = |error: hyper::Error| {
        EgressRefusal(
            StatusCode::BAD_GATEWAY,
            format!("storkit reached the host, but got no answer: {error}."),
        )
    };
    // Only a proxy gets the whole URL; a server expects the path (RFC 9112, 3.2).
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    *request.version_mut() = Version::HTTP_11;
    strip_hop_by_hop(request.headers_mut());
    let (mut sender, connection) =
        client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    shared.spawn(async move {
        let _ = connection.await;
    });
    let mut response = sender.send_request(request).await.map_err(failed)?;
    strip_hop_by_hop(response.headers_mut());
    Ok(response.map(Either::Left))
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    named.iter().for_each(|name| drop(headers.remove(name)));
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(*name)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_two_neighbours_goes_no_further() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connection", "close, X-Mine"), ("x-mine", "1"), ("te", "trailers"), ("accept", "*/*")]
        {
            headers.insert(name, HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
