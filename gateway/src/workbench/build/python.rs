//! Python: componentize-py, with `plugin.py` as the module. It is taken from the `PATH`, or fetched into `build/python`.

use super::{Problem, contract, needed, program, read, run};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

const TOOL: &str = "componentize-py";
const PYTHON: &str =
    "Get Python 3.10 or newer with pip from https://www.python.org, or your system's packages.";
/// Fetched where a folder has no `requirements.txt` that says.
const VERSION: &str = "componentize-py==0.25.1";
/// Where it is fetched to, and where the component is made.
const PACKAGES: &str = "build/python";
const MADE: &str = "build/component.wasm";

/// Builds the plugin in that folder, for that world.
pub(super) fn build(folder: &Path, world: &str) -> Result<Vec<u8>, Problem> {
    if !folder.join("plugin.py").is_file() {
        return Err(Problem::new(
            "no plugin.py, the module with the class Transformer, or Signer or Classifier",
        ));
    }
    let wit = contract(folder)?;
    let (tool, packages) = tool(folder)?;
    let made = folder.join(MADE);
    std::fs::create_dir_all(folder.join("build"))
        .map_err(|error| Problem::new(error.to_string()).at(folder.display()))?;
    let mut command = Command::new(tool);
    command.arg("--wit-path").arg(wit).args(["--world", world, "componentize"]);
    command.args(["--stub-wasi", "plugin", "-o"]).arg(&made).current_dir(folder);
    if let Some(packages) = packages {
        command.env("PYTHONPATH", packages);
    }
    run(&mut command, TOOL)?;
    read(&made)
}

/// The tool, and where its own packages are if that must be said.
fn tool(folder: &Path) -> Result<(PathBuf, Option<PathBuf>), Problem> {
    if let Some(tool) = program(TOOL) {
        return Ok((tool, None));
    }
    let packages = folder.join(PACKAGES);
    let tool = packages.join("bin").join(TOOL);
    if !tool.is_file() {
        let python = needed("python3", PYTHON)?;
        let mut pip = Command::new(python);
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--target"])
            .arg(&packages);
        match folder.join("requirements.txt").is_file() {
            true => pip.args(["-r", "requirements.txt"]),
            false => pip.arg(VERSION),
        };
        run(pip.current_dir(folder), "`pip install componentize-py`")?;
    }
    Ok((tool, Some(packages)))
}
