//! `cargo xtask plugins`: builds every Rust guest into a component. For authors of the guests in
//! `plugins/`, and for the gateway's tests, which run what `--update` puts into `plugins/prebuilt`.
//!
//! The steps: find a standard library for the target (installed, else by rustup, else built from
//! Debian's source package), compile each guest in a target directory of its own so that it never
//! waits for the host's builds, link with `wasm-component-ld`, look at the result.
//!
//! Two builds with the same rustc and the same standard library give the same bytes, whatever the
//! machine: no path of it is in them, since every prefix is remapped, and [`check`] refuses a
//! component that holds one all the same. The library that Debian's source gives is not rustup's to
//! the byte, and so neither are the components; a test holds that both behave alike.

use crate::cargo::{self, root, say};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// Package and name of every guest whose component is kept; it is `NAME.wasm`.
const GUESTS: [(&str, &str); 6] = [
    ("octohooks-capable", "capable"),
    ("octohooks-classifier", "classifier"),
    ("octohooks-github-router", "github-router"),
    ("octohooks-scripted", "scripted"),
    ("octohooks-signer", "signer"),
    ("octohooks-sms-status", "sms-status"),
];

/// The same of the examples in Rust, below `plugins/examples`; nothing needs their components, so they are not kept.
const EXAMPLES: [(&str, &str); 5] = [
    ("octohooks-cloudevents", "cloudevents"),
    ("octohooks-content-router", "content-router"),
    ("octohooks-dedup", "dedup"),
    ("octohooks-fan-out", "fan-out"),
    ("octohooks-redact", "redact"),
];

const TARGET: &str = "wasm32-unknown-unknown";

/// How long rustup may take: without a network it can hang.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);

/// How guests are compiled: for speed first, since each call of each message runs them. Measured
/// against level `s`, which gives components of two thirds the size: a call is 3 to 5 % faster.
const PROFILE: [(&str, &str); 6] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
];

/// The first eight bytes of every component: magic, version 13, layer 1.
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// What may be asked for.
#[derive(clap::Args)]
pub struct Options {
    /// The folder of a plugin of your own, to be built instead of the project's guests
    folder: Option<PathBuf>,
    /// Copies the components to plugins/prebuilt, which is committed
    #[arg(long)]
    update: bool,
    /// Builds the standard library from source even where the target is installed
    #[arg(long)]
    build_std: bool,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<()> {
    let root = root();
    let mut toolchain = Toolchain::find(&root, options.build_std)?;
    if let Some(folder) = &options.folder {
        let guest = Guest::own(folder)?;
        toolchain.prefixes.push((guest.manifest.with_file_name(""), guest.name.clone()));
        toolchain.component(&root, &guest)?;
        return Ok(());
    }
    for guest in Guest::all(&root) {
        let bytes = toolchain.component(&root, &guest)?;
        if options.update {
            let prebuilt = root.join("plugins/prebuilt");
            fs::create_dir_all(&prebuilt)?;
            fs::write(prebuilt.join(format!("{}.wasm", guest.name)), &bytes)?;
        }
    }
    for guest in Guest::examples(&root) {
        toolchain.component(&root, &guest)?;
    }
    Ok(())
}

/// What is built.
struct Guest {
    /// The component is `NAME.wasm`.
    name: String,
    package: String,
    manifest: PathBuf,
}

impl Guest {
    /// The project's own that are kept.
    fn all(root: &Path) -> impl Iterator<Item = Self> {
        GUESTS.iter().map(|guest| Self::ours(root, guest))
    }

    /// The project's examples.
    fn examples(root: &Path) -> impl Iterator<Item = Self> {
        EXAMPLES.iter().map(|guest| Self::ours(root, guest))
    }

    fn ours(root: &Path, (package, name): &(&str, &str)) -> Self {
        Self {
            name: (*name).to_owned(),
            package: (*package).to_owned(),
            manifest: root.join("Cargo.toml"),
        }
    }

    /// Somebody's plugin, a package of its own.
    fn own(folder: &Path) -> Result<Self> {
        let folder = fs::canonicalize(folder).with_context(|| folder.display().to_string())?;
        let manifest = folder.join("Cargo.toml");
        let text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
        let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        let name = name.with_context(|| format!("no name in {}", manifest.display()))?.to_owned();
        Ok(Self { package: name.clone(), name, manifest })
    }
}

/// Refuses what is not a component, and what holds a path of this machine.
fn check(bytes: &[u8], prefixes: &[(PathBuf, String)]) -> Result<()> {
    ensure!(bytes.starts_with(&COMPONENT), "not a component");
    for (prefix, _) in prefixes {
        let prefix = prefix.as_os_str().as_encoded_bytes();
        let found = bytes.windows(prefix.len()).any(|window| window == prefix);
        ensure!(!found, "holds a path of this machine");
    }
    Ok(())
}

/// What guests are compiled with.
struct Toolchain {
    /// The `bin` of rustc's own tools, with the linkers.
    tools: PathBuf,
    /// Where the private standard library is, if there is no other.
    sysroot: Option<PathBuf>,
    /// Paths of this machine, and what stands for them in a component.
    prefixes: Vec<(PathBuf, String)>,
}

impl Toolchain {
    fn find(root: &Path, build_std: bool) -> Result<Self> {
        let version = rustc(&["-vV"])?;
        let field = |name| {
            let line = version.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim).with_context(|| format!("rustc -vV has no `{name}`"))
        };
        let installed = PathBuf::from(rustc(&["--print", "sysroot"])?);
        let tools = installed.join("lib/rustlib").join(field("host:")?).join("bin");
        ensure!(
            tools.join("wasm-component-ld").exists(),
            "this toolchain has no wasm-component-ld: guests need one of rustup's"
        );
        let sysroot = match !build_std && (has_target()? || add_target()?) {
            true => None,
            false => Some(build_sysroot(root, field("commit-hash:")?)?),
        };
        let std_source = format!("/rustc/{}", field("commit-hash:")?);
        let mut prefixes = vec![
            (root.to_path_buf(), "octohooks".to_owned()),
            (installed.join("lib/rustlib/src/rust"), std_source),
        ];
        prefixes.extend(registries()?.into_iter().map(|path| (path, "cargo".to_owned())));
        Ok(Self { tools, sysroot, prefixes })
    }

    /// Builds one guest, looks at it, and puts it into target/components; its bytes.
    fn component(&self, root: &Path, guest: &Guest) -> Result<Vec<u8>> {
        let built = self.build(root, guest)?;
        let bytes = fs::read(&built).with_context(|| format!("no {}", built.display()))?;
        let file = format!("{}.wasm", guest.name);
        check(&bytes, &self.prefixes).with_context(|| file.clone())?;
        let components = root.join("target/components");
        fs::create_dir_all(&components)?;
        fs::write(components.join(&file), &bytes)?;
        say(&format!("target/components/{file}: {} bytes", bytes.len()));
        Ok(bytes)
    }

    /// Compiles and links one guest; the component's path.
    ///
    /// `cargo rustc` rather than `cargo build`: only with one crate type is there link-time
    /// optimisation.
    fn build(&self, root: &Path, guest: &Guest) -> Result<PathBuf> {
        let target_dir = root.join("target/guests");
        let locked = (guest.manifest == root.join("Cargo.toml")).then_some("--locked");
        let status = cargo::command()
            .args(["rustc", "--quiet", "--release", "--lib", "--crate-type", "cdylib"])
            .args(["--target", TARGET, "--package", &guest.package, "--manifest-path"])
            .arg(&guest.manifest)
            .args(locked)
            .arg("--target-dir")
            .arg(&target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags().join("\x1f"))
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", self.tools.join("wasm-component-ld"))
            .envs(PROFILE)
            .status()
            .context("cannot run cargo")?;
        ensure!(status.success(), "{} does not build", guest.package);
        let file = format!("{}.wasm", guest.package.replace('-', "_"));
        Ok(target_dir.join(TARGET).join("release").join(file))
    }

    fn flags(&self) -> Vec<String> {
        let wasm_ld = self.tools.join("gcc-ld/wasm-ld");
        let mut flags = vec![
            "-Clinker-flavor=wasm-ld".to_owned(),
            format!("-Clink-arg=--wasm-ld-path={}", wasm_ld.display()),
        ];
        flags.extend(self.sysroot.iter().map(|path| format!("--sysroot={}", path.display())));
        let remap =
            |(from, to): &(PathBuf, String)| format!("--remap-path-prefix={}={to}", from.display());
        flags.extend(self.prefixes.iter().map(remap));
        flags
    }
}

fn rustc(args: &[&str]) -> Result<String> {
    let output = Command::new("rustc").args(args).output().context("cannot run rustc")?;
    ensure!(output.status.success(), "rustc {} fails", args.join(" "));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Whether rustc has a standard library for the target.
fn has_target() -> Result<bool> {
    let libraries = rustc(&["--target", TARGET, "--print", "target-libdir"])?;
    let Ok(files) = fs::read_dir(libraries) else { return Ok(false) };
    let is_std = |name: &str| name.starts_with("libstd-");
    Ok(files.flatten().any(|file| file.file_name().to_str().is_some_and(is_std)))
}

/// Asks rustup for the target; false where there is no rustup, no network, or no answer in time.
fn add_target() -> Result<bool> {
    let rustup = Command::new("rustup")
        .args(["target", "add", TARGET])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut rustup) = rustup else { return Ok(false) };
    let started = Instant::now();
    while rustup.try_wait()?.is_none() {
        if started.elapsed() > RUSTUP_LIMIT {
            rustup.kill()?;
            rustup.wait()?;
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    has_target()
}

/// Builds the standard library from Debian's source package, once per version of rustc.
fn build_sysroot(root: &Path, commit: &str) -> Result<PathBuf> {
    let private = root.join("target/wasm-sysroot");
    let built = Command::new("bash")
        .arg(root.join("xtask/wasm-sysroot.sh"))
        .args([private.as_os_str(), commit.as_ref()])
        .status();
    if !built.is_ok_and(|status| status.success()) {
        bail!(
            "there is no standard library for {TARGET}. With a network, one of these gives one:\n  \
             rustup target add {TARGET}\n  \
             bash xtask/wasm-sysroot.sh target/wasm-sysroot {commit}   (on Debian, as root)"
        );
    }
    Ok(private.join("sysroot"))
}

/// Where cargo unpacks crates: the folders are named after the registries they came from.
fn registries() -> Result<Vec<PathBuf>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo"))).context("no CARGO_HOME")?;
    let Ok(folders) = fs::read_dir(home.join("registry/src")) else { return Ok(Vec::new()) };
    Ok(folders.flatten().map(|folder| folder.path()).collect())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod authors;
