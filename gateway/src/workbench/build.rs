//! From a plugin's folder to its component: the language's own tools, called as its author would, and what they leave
//! behind made a component. For `octohooks plugin build`. What is missing is said with the command that gets it.

use super::{
    Problem,
    manifest::{Language, Manifest},
    template,
};
use componentizer::ComponentEncoder;
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use wasm::{is_component, is_module};

mod c;
mod javascript;
mod python;
mod rust;

/// Builds the component and puts it where `plugin.toml` says. What tools say goes to stderr.
pub fn build(plugin: &Manifest) -> Result<(), Problem> {
    let folder = fs::canonicalize(&plugin.folder)
        .map_err(|error| Problem::new(error.to_string()).at(plugin.folder.display()))?;
    let bytes = match plugin.language {
        Language::Rust => rust::build(&folder)?,
        Language::Javascript => javascript::build(&folder, &plugin.world)?,
        Language::Python => python::build(&folder, &plugin.world)?,
        Language::C => c::build(&folder, &plugin.world)?,
    };
    let at = |error: io::Error| Problem::new(error.to_string()).at(plugin.artifact.display());
    if let Some(parent) = plugin.artifact.parent() {
        fs::create_dir_all(parent).map_err(at)?;
    }
    fs::write(&plugin.artifact, bytes).map_err(at)
}

/// The component that a linker's module is, with the types that are in a section of it.
fn component(bytes: Vec<u8>) -> Result<Vec<u8>, Problem> {
    if is_component(&bytes) {
        return Ok(bytes);
    }
    if !is_module(&bytes) {
        return Err(Problem::new("what the compiler made is not WebAssembly"));
    }
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|encoder| encoder.encode());
    encoded.map_err(|error| {
        let why = format!("{error:#}");
        Problem::new(match why.contains("wasi_snapshot_preview1") {
            true => format!(
                "the plugin uses files, output, clocks or the environment of its standard library, which plugins \
                 do not have; write lines with the contract's `log`: {why}"
            ),
            false => format!("no component can be made of the module: {why}"),
        })
    })
}

/// Tells WebAssembly by its first bytes.
mod wasm {
    pub(super) fn is_component(bytes: &[u8]) -> bool {
        bytes.starts_with(b"\0asm\x0d\0\x01\0")
    }

    pub(super) fn is_module(bytes: &[u8]) -> bool {
        bytes.starts_with(b"\0asm\x01\0\0\0")
    }
}

/// Runs a tool to its end; its output goes to stderr, so that stdout is the command's own.
fn run(command: &mut Command, what: &str) -> Result<(), Problem> {
    let status = command.stdin(Stdio::null()).stdout(io::stderr()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Problem::new(format!("{what} failed ({status}); it says why above"))),
        Err(error) => Err(Problem::new(format!("{what} does not start: {error}"))),
    }
}

/// The first program of that name on the `PATH`.
fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The program, or what to do about it.
fn needed(name: &str, how: &str) -> Result<PathBuf, Problem> {
    program(name).ok_or_else(|| Problem::new(format!("`{name}` is not installed. {how}")))
}

/// The folder's own copy of the contract; without one, this gateway's, in `build`.
fn contract(folder: &Path) -> Result<PathBuf, Problem> {
    let own = folder.join("wit");
    if own.is_dir() {
        return Ok(own);
    }
    let copy = folder.join("build/wit");
    template::write_contract(&copy)?;
    Ok(copy)
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    fs::read(path).map_err(|error| Problem::new(error.to_string()).at(path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plugin_becomes_no_component() {
        let said = |bytes: &[u8]| component(bytes.to_vec()).map_err(|problem| problem.to_string());
        let component = b"\0asm\x0d\0\x01\0";
        assert_eq!(said(component), Ok(component.to_vec()));
        assert!(said(b"ELF").expect_err("no wasm").contains("not WebAssembly"));
        let wasi = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32))))"#;
        let wasi = said(&wat::parse_str(wasi).expect("text")).expect_err("no such import");
        assert!(wasi.contains("plugins do not have"), "{wasi}");
    }

    #[test]
    fn a_missing_tool_is_said_with_the_way_to_get_it() {
        let said = needed("no-such-tool", "Get it from the moon.").expect_err("missing");
        assert_eq!(said.to_string(), "`no-such-tool` is not installed. Get it from the moon.");
        assert!(needed("sh", "").is_ok());
    }
}
