//! Programs of others against the gateway: the Standard Webhooks libraries of npm and PyPI, callers as the existing
//! clients are, and schemathesis, which calls what the document of the API says. They need Node.js, Python and packages that `cargo xtask test` fetches; a test that has them not fails, and
//! says what is missing.

use super::rig::LONG;
use std::{env, path::PathBuf, process::Stdio};
use tokio::{io::AsyncWriteExt, process::Command};

mod standard;
mod contract;
mod document;

/// Names the folder of the packages.
const PACKAGES: &str = "WEBHOOK_CLIENTS";

fn packages() -> PathBuf {
    let Some(folder) = env::var_os(PACKAGES).map(PathBuf::from) else {
        panic!(
            "{PACKAGES} names no folder: `cargo xtask test` fetches what this needs, with npm and pip"
        );
    };
    for package in
        ["node_modules/standardwebhooks", "node_modules/axios", "python/standardwebhooks"]
    {
        assert!(folder.join(package).is_dir(), "{} is missing", folder.join(package).display());
    }
    folder
}

/// Runs a script from the folder beside this one, with that input; what it prints.
async fn run(script: &str, arguments: &[&str], input: &str) -> String {
    let packages = packages();
    let program = if script.ends_with(".py") { "python3" } else { "node" };
    let path = format!("{}/tests/clients/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(program);
    command.arg(path).args(arguments).kill_on_drop(true);
    command.env(PACKAGES, &packages).env("PYTHONPATH", packages.join("python"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = command.spawn();
    let mut child = started.unwrap_or_else(|error| panic!("`{program}` is missing: {error}"));
    let mut stdin = child.stdin.take().expect("is piped");
    stdin.write_all(input.as_bytes()).await.expect("writes");
    drop(stdin);
    let ended = tokio::time::timeout(LONG, child.wait_with_output()).await;
    let output = ended.expect("the script ends").expect("ran");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, wrong) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{script}: {said}\n{wrong}");
    said
}
