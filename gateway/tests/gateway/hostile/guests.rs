//! Guests as they are uploaded: those of `plugins/test-guests/hostile`, and those that only a program would write.

use std::fmt::Write;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// WASI's one resource without a world behind it.
const ERROR: &str = "package wasi:io@0.2.0;
    interface error { resource error { to-debug-string: func() -> string; } }";

/// A plugin from the text of a core module in `plugins/test-guests/hostile`.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/test-guests/hostile");
    let path = format!("{folder}/{name}.wat");
    let text = std::fs::read_to_string(&path).expect("a guest");
    plugin(&text)
}

/// A plugin from the text of a core module.
pub(crate) fn plugin(text: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/since-v0.1");
    resolve.push_dir(contract).expect("the contract");
    let mut more = "";
    if text.contains("wasi:io/error") {
        resolve.push_str("io.wit", ERROR).expect("packages");
        more = "import wasi:io/error@0.2.0;";
    }
    let world = format!(
        "package test:guest; world guest {{ include octohooks:plugin/transform@0.1.0; {more} }}"
    );
    let package = resolve.push_str("guest.wit", &world).expect("a world");
    let world = resolve.select_world(&[package], None).expect("one world");
    let mut module = wat::parse_str(text).expect("the text of a module");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("types");
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .expect("a component")
}

/// What is small to send, and large to compile. Each is valid, and exports what a plugin must by its name.
pub(crate) fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("100,000 functions", functions(100_000)),
        ("a function of many locals and branches", locals(2000, 20_000)),
        ("a function of a million additions", additions(400_000)),
        ("a jump to 100,000 places", jumps(1, 100_000)),
        ("many jumps to 60,000 places", jumps(40, 60_000)),
        ("a table of ten million", module("(table 10000000 funcref)")),
        ("a table filled with a million", elements(1_000_000)),
        ("50,000 blocks in each other", blocks(50_000)),
        ("100 memories", module(&"(memory 1)".repeat(100))),
    ]
}

/// A hundred thousand functions: some three seconds of CPU time, and 700 MB.
pub(crate) fn functions(count: usize) -> Vec<u8> {
    module(&"(func)".repeat(count))
}

fn locals(count: usize, branches: usize) -> Vec<u8> {
    let mut body = String::new();
    for n in 0..branches {
        let local = |step: usize| 1 + n * step % count;
        let (to, a, b) = (local(7), local(13), local(29));
        let sum = format!("(i64.add (local.get {a}) (local.get {b}))");
        let _written = write!(body, "(if (i32.eqz (local.get 0)) (then (local.set {to} {sum})))");
    }
    let locals = "i64 ".repeat(count);
    module(&format!("(func (param i32) (local {locals}) (loop {body} (br_if 0 (local.get 0))))"))
}

fn additions(count: usize) -> Vec<u8> {
    let more = "local.get 0 i64.add local.get 0 i64.mul ".repeat(count);
    module(&format!("(func (param i64) (result i64) local.get 0 {more})"))
}

fn jumps(functions: usize, places: usize) -> Vec<u8> {
    let places = "0 ".repeat(places);
    let jump = format!("(func (param i32) (block (br_table {places} (local.get 0))))");
    module(&jump.repeat(functions))
}

fn elements(count: usize) -> Vec<u8> {
    let all = "$f ".repeat(count);
    module(&format!("(table {count} funcref) (func $f) (elem (i32.const 0) func {all})"))
}

fn blocks(count: usize) -> Vec<u8> {
    module(&format!("(func {} {})", "(block ".repeat(count), ")".repeat(count)))
}

fn module(inside: &str) -> Vec<u8> {
    let export = r#"(export "octohooks:plugin/transformer@0.1.0" (instance $nothing))"#;
    let text = format!("(component (core module {inside}) (instance $nothing) {export})");
    wat::parse_str(text).expect("a component")
}
