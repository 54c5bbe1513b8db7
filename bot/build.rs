//! Puts the web page's files, which `script/web` builds into `web/dist/page`, into the program. Without them it is built, too.

use std::{
    env,
    fmt::Write as _,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    // This folder is always there: cargo builds anew each time where a path is missing.
    let dist = here.join("../web/dist");
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    let page = dist.join("page");
    find(&page, &page, &mut files)?;
    files.sort();
    let mut hasher = DefaultHasher::new();
    let mut list = String::new();
    for (name, path) in files.iter().filter(|(name, _)| !is_compressed(name)) {
        fs::read(path)?.hash(&mut hasher);
        let other = |ending: &str| {
            let name = format!("{name}.{ending}");
            let found = files.iter().find(|(other, _)| *other == name);
            found.map_or_else(|| "b\"\"".to_owned(), |(_, path)| included(path))
        };
        let _ = writeln!(
            list,
            "    WebFile {{ path: {name:?}, media_type: {:?}, plain: {}, brotli: {}, gzip: {} }},",
            media_type(name),
            included(path),
            other("br"),
            other("gz"),
        );
    }
    let build = if list.is_empty() { String::new() } else { format!("{:016x}", hasher.finish()) };
    let text = format!("const BUILD: &str = {build:?};\n\nstatic FILES: &[WebFile] = &[\n{list}];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("web_files.rs"), text)
}

/// All files below a folder, with their names from the page's folder. A missing folder has none.
fn find(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            find(root, &path, files)?;
        } else if let Ok(name) = path.strip_prefix(root) {
            files.push((name.to_string_lossy().into_owned(), path.canonicalize()?));
        }
    }
    Ok(())
}

fn is_compressed(name: &str) -> bool {
    name.ends_with(".br") || name.ends_with(".gz")
}

fn included(path: &Path) -> String {
    format!("include_bytes!({path:?})")
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("webmanifest" | "json") => "application/json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
