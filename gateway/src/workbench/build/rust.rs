//! Rust: cargo, for `wasm32-unknown-unknown`, which has no WASI; the module that comes of it has its types inside.

use super::{Problem, component, needed, read};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const TARGET: &str = "wasm32-unknown-unknown";
const CARGO: &str =
    "Get Rust from https://rustup.rs, then `rustup target add wasm32-unknown-unknown`.";

/// Builds the crate in that folder.
pub(super) fn build(folder: &Path) -> Result<Vec<u8>, Problem> {
    // `cargo rustc`, since only with one crate type is there link-time optimisation.
    let built = Command::new(needed("cargo", CARGO)?)
        .args(["rustc", "--release", "--lib", "--crate-type", "cdylib", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Problem::new(format!("cargo does not start: {error}")))?;
    if !built.status.success() {
        let hint = match has_target(folder) {
            false => format!(
                ". This Rust has no standard library for {TARGET}; get it with `rustup target add {TARGET}`"
            ),
            true => "; it says why above".to_owned(),
        };
        return Err(Problem::new(format!("cargo failed ({}){hint}", built.status)));
    }
    let text = String::from_utf8_lossy(&built.stdout);
    // The last artifact is the crate itself, after what it depends on.
    let module = text.lines().rev().find_map(module_of);
    let module = module.ok_or_else(|| Problem::new("cargo made no `.wasm` file"))?;
    component(read(&module)?)
}

/// The `.wasm` file that a line of cargo's says was made.
fn module_of(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let files = message.get("filenames")?.as_array()?;
    let file = files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm"))?;
    Some(PathBuf::from(file))
}

/// Whether the folder's rustc has the target's standard library; a sysroot of one's own is taken to have it.
fn has_target(folder: &Path) -> bool {
    let printed = Command::new("rustc")
        .args(["--target", TARGET, "--print", "target-libdir"])
        .current_dir(folder)
        .output();
    let Ok(printed) = printed else { return false };
    let libraries = PathBuf::from(String::from_utf8_lossy(&printed.stdout).trim());
    let own = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"];
    let own = own.iter().filter_map(|name| std::env::var(name).ok());
    libraries.is_dir() && libraries.read_dir().is_ok_and(|mut files| files.next().is_some())
        || own.into_iter().any(|flags| flags.contains("--sysroot"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_found_in_what_cargo_says() {
        let line = r#"{"reason":"compiler-artifact","filenames":["/t/liba.rlib","/t/a.wasm"]}"#;
        assert_eq!(module_of(line), Some(PathBuf::from("/t/a.wasm")));
        for line in ["", "warning", r#"{"reason":"x"}"#, r#"{"filenames":["/t/a.rlib"]}"#] {
            assert_eq!(module_of(line), None, "{line}");
        }
    }
}
