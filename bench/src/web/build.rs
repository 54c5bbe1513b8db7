//! `script/web` in a clean copy of the page's sources.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, ensure};

use super::sources;
use crate::world::PATIENCE;

/// What building the page takes.
pub struct Built {
    /// Seconds of `script/web` where nothing is installed.
    pub clean: f64,
    /// Seconds of `script/web` where only the page is missing: types checked, and Vite.
    pub again: f64,
    /// Files that differ between the two.
    pub different: usize,
}

type Contents = BTreeMap<String, Vec<u8>>;

/// Builds it twice. Packages come from the registry, or from npm's cache.
pub fn measure() -> anyhow::Result<Built> {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    let from = sources()?;
    copy(&from, &root.join("web"), &|name| !matches!(name, "node_modules" | "dist" | "shots"))?;
    fs::create_dir_all(root.join("web/dist"))?;
    copy(&from.join("../script"), &root.join("script"), &|name| matches!(name, "web" | "need"))?;
    let clean = built(root)?;
    let first = read(&root.join("web/dist/page"))?;
    fs::remove_dir_all(root.join("web/dist/page"))?;
    let again = built(root)?;
    let second = read(&root.join("web/dist/page"))?;
    ensure!(first.len() > 5, "only {} files were built", first.len());
    let names = first.keys().chain(second.keys().filter(|name| !first.contains_key(*name)));
    let different = names.filter(|name| first.get(*name) != second.get(*name)).count();
    Ok(Built { clean, again, different })
}

/// Seconds of `script/web`.
fn built(root: &Path) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).arg(root.join("script/web")).stdin(Stdio::null());
    let output = command.output().context("script/web")?;
    ensure!(output.status.success(), "script/web failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(start.elapsed().as_secs_f64())
}

fn copy(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        match entry.file_type()? {
            _ if !wanted(&name.to_string_lossy()) => {}
            kind if kind.is_dir() => copy(&entry.path(), &to.join(&name), wanted)?,
            _ => drop(fs::copy(entry.path(), to.join(&name))?),
        }
    }
    Ok(())
}

/// All files below it, by their path.
fn read(folder: &Path) -> io::Result<Contents> {
    let (mut contents, mut folders) = (Contents::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                contents.insert(
                    path.strip_prefix(folder).unwrap_or(&path).display().to_string(),
                    fs::read(&path)?,
                );
            }
        }
    }
    Ok(contents)
}
