//! JavaScript: the folder's own `build.mjs`, which calls componentize-js; what `package.json` names is fetched first if it
//! is not there.

use super::{Problem, contract, needed, read, run};
use crate::workbench::manifest::TRANSFORM;
use std::{path::Path, process::Command};

const NODE: &str = "Get Node.js 20 or newer from https://nodejs.org, or your system's packages.";
const PACKAGE: &str = "node_modules/@bytecodealliance/componentize-js";
/// Where `build.mjs` puts the component.
const MADE: &str = "build/component.wasm";

/// Builds the plugin in that folder, for that world.
pub(super) fn build(folder: &Path, world: &str) -> Result<Vec<u8>, Problem> {
    if !folder.join("build.mjs").is_file() {
        return Err(Problem::new(
            "no build.mjs, which makes the component; `octohooks plugin new --lang javascript` has one to copy",
        ));
    }
    if world != TRANSFORM && !read(&folder.join("build.mjs"))?.windows(7).any(|is| is == b"argv[3]")
    {
        return Err(Problem::new(
            "build.mjs takes no world, as older ones do: it has to say `worldName: process.argv[3] ?? 'transform'`",
        ));
    }
    let wit = contract(folder)?;
    let node = needed("node", NODE)?;
    // Node looks in the folders above as well.
    if !folder.ancestors().any(|above| above.join(PACKAGE).is_dir()) {
        let mut npm = Command::new(needed("npm", NODE)?);
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(folder);
        run(&mut npm, "`npm install`")?;
    }
    let made = folder.join(MADE);
    let _none = std::fs::remove_file(&made);
    let mut command = Command::new(node);
    command.arg("build.mjs").arg(wit).arg(world).current_dir(folder);
    run(&mut command, "`node build.mjs`")?;
    read(&made)
}
