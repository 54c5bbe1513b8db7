//! The system's part of a view: programs, libraries, and what programs look up in `/etc`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Folders of programs and libraries. On a merged `/usr` most of them are links.
const FOLDERS: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"];

/// Entries of `/etc`: certificates, names of hosts and users, the clock, libraries, shells, and toolchains' system-wide settings. Nothing
/// with keys in it (`shadow`, `ssh`, `sudoers`, `apt/auth.conf.d`, `ssl/private`).
const ETC: [&str; 68] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "chromium",
    // Its start script of Debian reads it; the keys there are the package's, and public.
    "chromium.d",
    "crypto-policies",
    "debian_version",
    "default/locale",
    "dotnet",
    "environment",
    "firefox",
    "fonts",
    "gai.conf",
    "gitconfig",
    "group",
    "host.conf",
    "hostname",
    "hosts",
    "ImageMagick-6",
    "ImageMagick-7",
    "inputrc",
    "issue",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "java",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ld.so.preload",
    "locale.alias",
    "locale.conf",
    "localtime",
    "lsb-release",
    "magic",
    "magic.mime",
    "mailcap",
    "maven",
    "mime.types",
    "netconfig",
    "networks",
    "npmrc",
    "nsswitch.conf",
    "openssl",
    "os-release",
    "passwd",
    "perl",
    "pip.conf",
    "pki/ca-trust",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "php",
    "profile",
    "profile.d",
    "protocols",
    "python3",
    "redhat-release",
    "rpc",
    "services",
    "shells",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
    "wgetrc",
];

/// How names of hosts are looked up, and the processors that there are.
const FURTHER: [&str; 6] = [
    "/etc/resolv.conf",
    "/etc/alpine-release",
    "/run/systemd/resolve/stub-resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/resolvconf/resolv.conf",
    "/sys/devices/system/cpu",
];

/// What exists of it, before links are followed.
pub(super) fn paths() -> Vec<PathBuf> {
    let folders = FOLDERS.iter().map(PathBuf::from);
    let etc = ETC.iter().map(|name| Path::new("/etc").join(name));
    let further = FURTHER.iter().map(PathBuf::from);
    folders.chain(etc.chain(further).filter(|path| is_public(path))).filter(|path| path.exists()).collect()
}

/// Whether every user of the machine may read it. storkit may run as root, and see more.
fn is_public(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_there_and_nothing_that_holds_a_key() {
        let paths = paths();
        assert!(paths.contains(&"/usr".into()) && paths.contains(&"/etc/passwd".into()));
        for secret in ["/etc", "/etc/shadow", "/etc/ssh", "/etc/sudoers", "/root", "/home", "/var", "/run"] {
            assert!(!paths.contains(&secret.into()), "{secret}");
        }
        // Nor a folder that has one: storkit may run as root, who reads it.
        for secret in ["/etc/ssl/private/key.pem", "/etc/pki/tls/private/key.pem", "/etc/apt/auth.conf"] {
            assert!(paths.iter().all(|path| !Path::new(secret).starts_with(path)), "{secret}");
        }
    }
}
