//! C: clang or zig for `wasm32-wasi`, whose libc has memory and strings. The bindings are made here, by wit-bindgen, into
//! `build`; the types are put into the module, and that is made a component.

use super::{Problem, component, contract, program, read, run};
use componentizer::{StringEncoding, embed_component_metadata};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use wit_bindgen_core::{
    Files,
    wit_parser::{Resolve, WorldId},
};

/// How any of the compilers is got.
const HOW: &str = "No C compiler here can compile for wasm32-wasi. Any of these can:\n  \
    clang, lld and wasi-libc    apt-get install clang lld wasi-libc libclang-rt-dev-wasm32\n  \
    the WASI SDK                https://github.com/WebAssembly/wasi-sdk, with WASI_SDK_PATH set to its folder\n  \
    zig                         https://ziglang.org, or python3 -m pip install ziglang";

/// What is compiled with: for speed, and without what a program has at its start and end.
const FLAGS: [&str; 9] = [
    "-O2",
    "-Wall",
    "-Wextra",
    "-fno-exceptions",
    "-mexec-model=reactor",
    "-Wl,--strip-all",
    // zig gives 16 MiB, which each call would have to be given.
    "-Wl,-z,stack-size=131072",
    "-Wl,--export=cabi_realloc",
    "-Wno-unused-parameter",
];

/// The bindings call this so that their object file with the types is linked; the types are put in afterwards instead.
fn types_of(world: &str) -> String {
    format!("void __component_type_object_force_link_{}(void) {{}}\n", in_c(world))
}

/// How C calls a world.
fn in_c(world: &str) -> String {
    world.replace('-', "_")
}

/// Builds the plugin in that folder for that world: all `.c` files of it, and of `src` if there is one.
pub(super) fn build(folder: &Path, world: &str) -> Result<Vec<u8>, Problem> {
    let sources = sources(folder)?;
    let made = folder.join("build");
    fs::create_dir_all(&made)
        .map_err(|error| Problem::new(error.to_string()).at(made.display()))?;
    let wit = contract(folder)?;
    let bound = bindings((&wit, world), &made)?;
    let types = made.join("force-link.c");
    fs::write(&types, types_of(world))
        .map_err(|error| Problem::new(error.to_string()).at(types.display()))?;
    let module = made.join("module.wasm");
    let mut compiler = compiler(&made)?;
    compiler.args(FLAGS).arg("-I").arg(&made).arg("-o").arg(&module);
    compiler.args(sources).args([bound, types]).current_dir(folder);
    run(&mut compiler, "the C compiler")?;
    let mut bytes = read(&module)?;
    embed((&wit, world), &mut bytes)?;
    component(bytes)
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let mut sources = Vec::new();
    for place in [folder.to_owned(), folder.join("src")] {
        let files = fs::read_dir(place).into_iter().flatten().flatten().map(|file| file.path());
        sources.extend(files.filter(|file| file.extension().is_some_and(|is| is == "c")));
    }
    sources.sort();
    match sources.is_empty() {
        true => Err(Problem::new("no `.c` file in the folder, nor in its `src`")),
        false => Ok(sources),
    }
}

/// A folder with WIT, and the world in it.
type World<'a> = (&'a Path, &'a str);

fn resolved((wit, world): World<'_>) -> Result<(Resolve, WorldId), Problem> {
    let mut resolve = Resolve::default();
    let world = resolve.push_path(wit).and_then(|(package, _)| {
        let world = resolve.select_world(&[package], Some(world))?;
        Ok(world)
    });
    let world = world.map_err(|error| Problem::new(format!("{error:#}")).at(wit.display()))?;
    Ok((resolve, world))
}

/// Writes the world's `.h` and `.c` into that folder: the second.
fn bindings(of: World<'_>, into: &Path) -> Result<PathBuf, Problem> {
    let (mut resolve, world) = resolved(of)?;
    let options = wit_bindgen_c::Opts { no_object_file: true, ..Default::default() };
    let mut files = Files::default();
    let generated = options.build().generate(&mut resolve, world, &mut files);
    generated.map_err(|error| Problem::new(format!("the bindings for C: {error:#}")))?;
    for (name, bytes) in files.iter() {
        let path = into.join(name);
        fs::write(&path, bytes)
            .map_err(|error| Problem::new(error.to_string()).at(path.display()))?;
    }
    Ok(into.join(format!("{}.c", in_c(of.1))))
}

fn embed(of: World<'_>, module: &mut Vec<u8>) -> Result<(), Problem> {
    let (resolve, world) = resolved(of)?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| Problem::new(format!("the component's types: {error:#}")))
}

/// The first compiler that can do it, ready for its arguments.
fn compiler(scratch: &Path) -> Result<Command, Problem> {
    let sdk = env::var_os("WASI_SDK_PATH").map(|path| Path::new(&path).join("bin/clang"));
    let sdk = sdk.filter(|clang| clang.is_file());
    let candidates = [
        sdk.map(|clang| vec![clang.into_os_string(), "--target=wasm32-wasi".into()]),
        program("clang").map(|clang| vec![clang.into_os_string(), "--target=wasm32-wasi".into()]),
        program("zig").map(|zig| {
            vec![zig.into_os_string(), "cc".into(), "-target".into(), "wasm32-wasi".into()]
        }),
    ];
    let probe = scratch.join("probe.c");
    fs::write(&probe, "#include <stdlib.h>\nvoid *probe(void) { return malloc(1); }\n")
        .map_err(|error| Problem::new(error.to_string()).at(probe.display()))?;
    let found = candidates.into_iter().flatten().find(|words| {
        let mut command = command(words);
        command.arg("-mexec-model=reactor").arg("-o").arg(scratch.join("probe.wasm")).arg(&probe);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    });
    for left in ["probe.c", "probe.wasm"] {
        let _gone = fs::remove_file(scratch.join(left));
    }
    found.map(|words| command(&words)).ok_or_else(|| Problem::new(HOW))
}

fn command(words: &[std::ffi::OsString]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}
