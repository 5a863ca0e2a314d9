//! Plugins as their authors have them: each language's new folder, and every example, is built by `octohooks plugin` and
//! passes its cases in the gateway's host. The tools are fetched from npm and PyPI into `target/authors`, once; what was
//! built there is built again when its sources, or what builds them, have changed.

use super::{Guest, Toolchain};
use crate::{cargo::root, clients};
use anyhow::{Context, Result, ensure};
use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Fixed, and the same as in the templates and examples: a test holds that.
const NPM: &str = "@bytecodealliance/componentize-js@0.23.0";
const PYPI: &str = "componentize-py==0.25.1";
/// A compiler for C with a libc for WebAssembly, for machines whose clang has none.
const ZIG: &str = "ziglang==0.17.1";

/// Of one command. A component of 18 MB takes half a minute to compile on two slow cores.
const LIMIT: Duration = Duration::from_secs(480);

/// Where tools are, and what is built with them.
fn place() -> PathBuf {
    root().join("target/authors")
}

/// The command that authors have, which `cargo test --workspace` builds before any test runs.
fn octohooks() -> Command {
    let tests = env::current_exe().expect("this program");
    let program =
        tests.parent().and_then(Path::parent).expect("a build directory").join("octohooks");
    assert!(
        program.is_file(),
        "{} is not built: run the whole workspace's tests",
        program.display()
    );
    Command::new(program)
}

/// Runs it to its end: whether it succeeded, and what it printed.
fn ended(command: &mut Command) -> (bool, String) {
    let place = tempfile::tempdir().expect("a directory");
    let log = place.path().join("log");
    let file = fs::File::create(&log).expect("a file");
    command.stdin(Stdio::null()).stdout(file.try_clone().expect("a file")).stderr(file);
    let mut child = command.spawn().expect("starts");
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status.success();
        }
        if started.elapsed() > LIMIT {
            child.kill().expect("ends");
            child.wait().expect("ended");
            break false;
        }
        thread::sleep(Duration::from_millis(50));
    };
    (status, fs::read_to_string(log).unwrap_or_default())
}

/// Past the test runner, which would keep it for itself.
fn skipped(what: &str, why: &anyhow::Error) {
    writeln!(std::io::stderr(), "SKIPPED, {what}: {why:#}").expect("an output");
}

/// `octohooks plugin test`, and that every case passed.
fn passes(command: &mut Command, what: &str) {
    let (success, said) = ended(command);
    assert!(success, "{what}:\n{said}");
    assert!(said.trim_end().ends_with(" passed"), "{what}:\n{said}");
}

/// A folder of plugins with the tools of their languages.
struct Bench {
    place: PathBuf,
    variables: Vec<(&'static str, PathBuf)>,
}

impl Bench {
    /// With packages of PyPI, and what they bring on the `PATH`.
    fn python(packages: &[&str]) -> Result<Self> {
        let place = place();
        let (python, bin) = (place.join("python"), place.join("bin"));
        for package in packages {
            // Each in a folder of its own, since tests may fetch at the same time.
            let name = package.split('=').next().unwrap_or(package);
            clients::pypi(&python.join(name), &[package])?;
        }
        fs::create_dir_all(&bin)?;
        let zig = bin.join("zig");
        let packages = python.join("ziglang");
        let script = format!(
            "#!/bin/sh\nPYTHONPATH='{}' exec python3 -m ziglang \"$@\"\n",
            packages.display()
        );
        fs::write(&zig, script)?;
        fs::set_permissions(&zig, fs::Permissions::from_mode(0o755))?;
        let tools = python.join("componentize-py");
        let mut path = vec![tools.join("bin")];
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        path.push(bin);
        let variables = vec![
            ("PATH", PathBuf::from(env::join_paths(path)?)),
            ("PYTHONPATH", tools),
            ("ZIG_GLOBAL_CACHE_DIR", place.join("zig")),
        ];
        Ok(Self { place, variables })
    }

    /// With a package of npm, where Node finds it from below.
    fn javascript() -> Result<Self> {
        let place = place();
        clients::npm(&place, &[NPM])?;
        Ok(Self { place, variables: Vec::new() })
    }

    /// With Rust for the guests' target.
    fn rust() -> Result<Self> {
        let toolchain = Toolchain::find(&root(), false)?;
        let mut variables = vec![("CARGO_TARGET_DIR", root().join("target/guests"))];
        if toolchain.sysroot.is_some() {
            let flags = toolchain.flags().join("\x1f");
            let linker = toolchain.tools.join("wasm-component-ld");
            variables.push(("CARGO_ENCODED_RUSTFLAGS", flags.into()));
            variables.push(("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker));
        }
        Ok(Self { place: place(), variables })
    }

    fn octohooks(&self, folder: &Path) -> Command {
        let mut command = octohooks();
        command.arg("plugin").current_dir(folder);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// `octohooks plugin new`, in place of what is there.
    fn new_folder(&self, name: &str, language: &str) {
        let _none = fs::remove_dir_all(self.place.join(name));
        let mut command = self.octohooks(&self.place);
        let (made, said) = ended(command.args(["new", name, "--lang", language]));
        assert!(made, "{said}");
    }

    /// A new plugin in that language passes its cases: its folder.
    fn new_passes(&self, language: &str) -> PathBuf {
        let name = format!("new-{language}");
        let templates = root().join("gateway/templates").join(language);
        let folder = self.place.join(&name);
        let is_built = self.is_built(&name, &templates);
        if !is_built {
            self.new_folder(&name, language);
            if language == "rust" {
                // The same crates as the workspace has: nothing new to fetch.
                fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).expect("a file");
            }
        }
        self.test(&name, &folder, &templates, is_built);
        folder
    }

    /// An example passes its cases.
    fn example_passes(&self, name: &str) {
        let source = root().join("plugins/examples").join(name);
        let folder = self.place.join(name);
        let is_built = self.is_built(name, &source);
        if !is_built {
            let _none = fs::remove_dir_all(&folder);
            copy(&source, &folder);
        }
        self.test(name, &folder, &source, is_built);
    }

    /// A plugin in C for a world of its own, beside the contract in its folder: a classifier that remembers.
    fn own_world_passes(&self) {
        let (name, source) = ("own-world", root().join("plugins/test-guests/own-world"));
        let folder = self.place.join(name);
        let is_built = self.is_built(name, &source);
        if !is_built {
            self.new_folder(name, "c");
            fs::remove_dir_all(folder.join("cases")).expect("removed");
            copy(&source, &folder);
        }
        self.test(name, &folder, &source, is_built);
    }

    fn test(&self, name: &str, folder: &Path, source: &Path, is_built: bool) {
        let mut command = self.octohooks(folder);
        // Compiled twice, such components would take half a minute more.
        command.args(["test", "--no-fuel"]).args(is_built.then_some("--no-build"));
        passes(&mut command, name);
        fs::write(self.stamp(name), state(source)).expect("a file");
    }

    /// Whether it was built from these sources, and nothing has changed.
    fn is_built(&self, name: &str, source: &Path) -> bool {
        fs::create_dir_all(&self.place).expect("made");
        let component = self.place.join(name).join("build").join(format!("{name}.wasm"));
        let kept = fs::read_to_string(self.stamp(name)).unwrap_or_default();
        component.is_file() && kept == state(source)
    }

    fn stamp(&self, name: &str) -> PathBuf {
        self.place.join(format!("{name}.stamp"))
    }
}

/// A digest of the sources, of what builds them, and of the contract.
fn state(source: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    (NPM, PYPI, ZIG).hash(&mut hasher);
    for folder in [source.to_owned(), root().join("gateway/src/workbench"), root().join("wit")] {
        for file in files(&folder) {
            (&file, fs::read(&file).expect("a file")).hash(&mut hasher);
        }
    }
    if source.ends_with("rust") {
        files(&root().join("plugins/sdk")).iter().for_each(|file| {
            fs::read(file).expect("a file").hash(&mut hasher);
        });
    }
    format!("{:016x}", hasher.finish())
}

/// Copies all files below one folder into another.
fn copy(from: &Path, into: &Path) {
    for file in files(from) {
        let to = into.join(file.strip_prefix(from).expect("below"));
        fs::create_dir_all(to.parent().expect("a folder")).expect("made");
        fs::copy(&file, &to).expect("a file");
    }
}

/// All files below a folder but what was built there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        match path.is_dir() {
            true if ["build", "node_modules", "target", "__pycache__"]
                .iter()
                .any(|n| name == *n) => {}
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

#[test]
fn rust_examples_pass_their_cases() {
    let root = root();
    let toolchain = match Toolchain::find(&root, false) {
        Ok(toolchain) => toolchain,
        Err(error) => return skipped("the examples in Rust", &error),
    };
    let own = Guest::all(&root).map(|guest| (root.join("plugins").join(&guest.name), guest));
    let examples = Guest::examples(&root)
        .map(|guest| (root.join("plugins/examples").join(&guest.name), guest));
    let mut tested = 0;
    for (folder, guest) in own.chain(examples) {
        let cases = folder.join("cases");
        if !cases.is_dir() {
            continue; // a guest for the gateway's own tests
        }
        toolchain.component(&root, &guest).expect("builds");
        let component = root.join(format!("target/components/{}.wasm", guest.name));
        let mut command = octohooks();
        command.args(["plugin", "test"]).arg(component).arg("--cases").arg(cases);
        passes(&mut command, &guest.name);
        tested += 1;
    }
    assert_eq!(tested, 7);
}

#[test]
fn a_new_rust_plugin_passes_its_cases() {
    let bench = match Bench::rust() {
        Ok(bench) => bench,
        Err(error) => return skipped("a new plugin in Rust", &error),
    };
    let folder = bench.new_passes("rust");
    // Its unit tests are for this machine: without the flags that components are built with.
    let mut command = Command::new("cargo");
    command
        .args(["test", "--lib"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", place().join("rust"));
    let (success, said) = ended(&mut command);
    assert!(success && said.contains("test result: ok. 1 passed"), "{said}");
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn javascript_plugins_pass_their_cases() {
    match Bench::javascript() {
        Ok(bench) => {
            bench.new_passes("javascript");
            bench.example_passes("github-slack");
            bench.example_passes("stripe-signature");
        }
        Err(error) => skipped("the plugins in JavaScript", &error),
    }
}

#[test]
fn python_plugins_pass_their_cases() {
    match Bench::python(&[PYPI]) {
        Ok(bench) => {
            bench.new_passes("python");
            bench.example_passes("versions");
            bench.example_passes("result-codes");
        }
        Err(error) => skipped("the plugins in Python", &error),
    }
}

#[test]
fn c_plugins_pass_their_cases() {
    match Bench::python(&[ZIG]) {
        Ok(bench) => {
            bench.new_passes("c");
            bench.example_passes("card-mask");
            bench.own_world_passes();
        }
        Err(error) => skipped("the plugins in C", &error),
    }
}

#[test]
fn every_example_is_tested() -> Result<()> {
    let mut folders: Vec<String> = fs::read_dir(root().join("plugins/examples"))?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    folders.sort();
    let mut tested: Vec<String> = Guest::examples(&root()).map(|guest| guest.name).collect();
    let others = ["card-mask", "github-slack", "result-codes", "stripe-signature", "versions"];
    tested.extend(others.map(str::to_owned));
    tested.sort();
    assert_eq!(folders, tested);
    for folder in folders {
        let folder = root().join("plugins/examples").join(folder);
        for file in ["README.md", "plugin.toml", "cases"] {
            ensure!(folder.join(file).exists(), "{} has no {file}", folder.display());
        }
    }
    Ok(())
}

#[test]
fn the_tools_have_one_version_everywhere() -> Result<()> {
    let root = root();
    let (name, version) = NPM.rsplit_once('@').context("a version")?;
    let manifest = format!("\"{name}\": \"{version}\"");
    for (file, expected) in [
        ("gateway/templates/javascript/package.json", &*manifest),
        ("plugins/examples/github-slack/package.json", &manifest),
        ("plugins/examples/stripe-signature/package.json", &manifest),
        ("gateway/templates/python/requirements.txt", PYPI),
        ("plugins/examples/versions/requirements.txt", PYPI),
        ("plugins/examples/result-codes/requirements.txt", PYPI),
        ("gateway/src/workbench/build/python.rs", PYPI),
    ] {
        let text = fs::read_to_string(root.join(file))?;
        ensure!(text.contains(expected), "{file} does not say {expected}");
    }
    Ok(())
}
