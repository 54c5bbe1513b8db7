//! Reads a multipart form (RFC 7578), as far as uploads need it.

use axum::body::Bytes;

pub struct Part {
    pub name: String,
    pub file_name: Option<String>,
    pub mime: Option<String>,
    pub bytes: Bytes,
}

/// The fields of the form; `None` if it is none.
pub fn read(content_type: &str, body: &Bytes) -> Option<Vec<Part>> {
    let boundary = content_type.split_once("boundary=")?.1.trim_matches('"');
    let mark = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut at = find(body, mark.as_bytes(), 0)? + mark.len();
    while !body.get(at..)?.starts_with(b"--") {
        let head_end = find(body, b"\r\n\r\n", at)?;
        let end = find(body, format!("\r\n{mark}").as_bytes(), head_end)?;
        let head = String::from_utf8_lossy(&body[at..head_end]).into_owned();
        let field = |name: &str| {
            let start = head.find(&format!("{name}=\""))? + name.len() + 2;
            Some(head[start..].split('"').next()?.to_owned())
        };
        let mime = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned())
        });
        let bytes = body.slice(head_end + 4..end);
        parts.push(Part { name: field(" name")?, file_name: field("filename"), mime, bytes });
        at = end + 2 + mark.len();
    }
    Some(parts)
}

fn find(body: &[u8], what: &[u8], from: usize) -> Option<usize> {
    body.get(from..)?.windows(what.len()).position(|window| window == what).map(|at| from + at)
}
