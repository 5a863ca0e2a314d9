//! Where a component becomes native code. Denial of service while compiling is nobody's bug: a small upload can ask a
//! compiler for minutes and gigabytes. So the gateway compiles in a child process, its own program started again, which
//! binds itself to limits of memory and CPU time before it reads a byte, is given a time by its parent, and has nothing
//! of the gateway's: no files, no environment, no sockets. What it answers is native code, and trusted as far as the
//! compiler is.
//!
//! The parent's side is [`Compiler`], the child's [`serve`]. `admission` says how many may run at once.

use super::{compile::Rejected, engine, fuel, limits::Options};
use crate::clock;
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit,
};
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};
use wasmtime::Engine;

/// The argument that makes the program compile.
const COMMAND: &str = "compile-component";

/// The child's exit code for a component that cannot be compiled; its reason is on stderr.
const REFUSED: u8 = 65;
/// Its exit code where it could not even begin, for no fault of the component.
const FAILED: u8 = 1;
/// Bytes read of what the child says on stderr.
const COMPLAINT: u64 = 4096;
/// The signal of a process whose CPU time is used up. The same number on every Linux, as the next one.
const SIGXCPU: i32 = 24;
/// The signal that ends a process at once.
const SIGKILL: i32 = 9;
/// Threads that compile: more take memory of the limit, and the processors of everybody else.
const THREADS: usize = 4;

/// Where to compile.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// In this process: for tests, and for authors, who compile what is their own.
    InProcess,
    /// In a child process: this program, which must answer [`COMMAND`] with [`serve`].
    Child(PathBuf),
}

impl Compiler {
    /// This very program, also when another has taken its place on disk.
    pub fn own() -> io::Result<Self> {
        let own = PathBuf::from("/proc/self/exe");
        if own.exists() { Ok(Self::Child(own)) } else { std::env::current_exe().map(Self::Child) }
    }

    /// The component's native code, for an engine of the same configuration; one that counts fuel is another. Blocking.
    pub(super) fn compile(
        &self,
        engine: &Engine,
        options: &Options,
        counts: bool,
        bytes: &[u8],
    ) -> Result<Vec<u8>, Rejected> {
        let code = match self {
            Self::InProcess => engine
                .precompile_component(bytes)
                .map_err(|error| Rejected::Compile(format!("{error:#}")))?,
            Self::Child(program) => {
                in_child(command(program.clone(), options, counts), options, bytes)?
            }
        };
        bounded(code, options)
    }
}

fn command(program: PathBuf, options: &Options, counts: bool) -> Command {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    let mut command = Command::new(program);
    command
        .arg(COMMAND)
        .arg(options.compile_memory_bytes.to_string())
        .arg(options.compile_cpu_seconds.to_string())
        .args(counts.then_some("--fuel"))
        .env_clear()
        .env("RAYON_NUM_THREADS", threads.to_string())
        // The allocator's arenas, in KiB: its usual ones are as large as the limit.
        .env("MIMALLOC_ARENA_RESERVE", (32 << 10).to_string())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A child that does not outlive its handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

fn bounded(code: Vec<u8>, options: &Options) -> Result<Vec<u8>, Rejected> {
    match code.len() > options.code_bytes {
        true => Err(Rejected::TooMuchCode(options.code_bytes)),
        false => Ok(code),
    }
}

/// Hands the component over, and takes what comes back: its code, or why there is none.
fn in_child(mut command: Command, options: &Options, bytes: &[u8]) -> Result<Vec<u8>, Rejected> {
    let missing = |error: io::Error| Rejected::Unavailable(format!("no compiler: {error}"));
    let running = Running(command.spawn().map_err(missing)?);
    let until = clock::instant() + Duration::from_millis(options.compile_timeout_ms);
    // The child is dropped, and with it the pipes that the threads wait at, before the threads are waited for.
    thread::scope(move |scope| {
        let mut running = running;
        let child = &mut running.0;
        let (Some(mut input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Rejected::Unavailable("no compiler: no pipes".into()));
        };
        let spawn = |name: &str| thread::Builder::new().name(name.into());
        // One that ends early does not read on: what it says then is why.
        let written = move || drop(input.write_all(bytes));
        spawn("component").spawn_scoped(scope, written).map_err(missing)?;
        let read = |name, from: Box<dyn Read + Send>, limit| {
            let (sender, receiver) = mpsc::channel();
            let read = move || {
                let mut bytes = Vec::new();
                let _whole = from.take(limit).read_to_end(&mut bytes);
                let _received = sender.send(bytes);
            };
            spawn(name).spawn_scoped(scope, read).map(|_| receiver).map_err(missing)
        };
        let most = (options.code_bytes as u64).saturating_add(1);
        let code = read("code", Box::new(output), most)?;
        let complaint = read("complaint", Box::new(errors), COMPLAINT)?;
        let wait = |pipe: &mpsc::Receiver<Vec<u8>>| {
            let left = until.saturating_duration_since(clock::instant());
            // How long it takes by the clock is the machine's doing; its CPU time has a limit of its own.
            let late = format!("compiling took longer than {} ms", options.compile_timeout_ms);
            pipe.recv_timeout(left).map_err(|_| Rejected::Unavailable(late))
        };
        // Of more than may be, no more is read.
        let code = bounded(wait(&code)?, options)?;
        let complaint = wait(&complaint)?;
        // It closed its pipes, so that it is ending: a signal changes nothing, unless it lies.
        let _ended = running.0.kill();
        let status = running.0.wait().map_err(missing)?;
        if status.success() { Ok(code) } else { Err(why(status, &complaint, options)) }
    })
}

/// Why a child ended without code.
fn why(status: ExitStatus, complaint: &[u8], options: &Options) -> Rejected {
    let complaint = String::from_utf8_lossy(complaint);
    let complaint = complaint.trim().trim_start_matches("octohooks: ").to_owned();
    // The first is Rust's word for it, the second the system's.
    let starved = ["memory allocation of", "Cannot allocate memory", "out of memory"];
    if starved.iter().any(|words| complaint.contains(words)) {
        return Rejected::OutOfMemory(options.compile_memory_bytes);
    }
    // None of its limits sends it, but a system without memory does, and whoever may.
    if status.signal() == Some(SIGKILL) {
        return Rejected::Unavailable(
            "the compiler was killed: the machine has too little memory".into(),
        );
    }
    if status.signal() == Some(SIGXCPU) {
        return Rejected::TooLong(format!("{} s of CPU time", options.compile_cpu_seconds));
    }
    match status.code() {
        Some(code) if code == i32::from(REFUSED) => return Rejected::Compile(complaint),
        Some(code) if code == i32::from(FAILED) => return Rejected::Unavailable(complaint),
        _ => {}
    }
    let last = complaint.lines().next_back().unwrap_or("it said nothing");
    Rejected::Crashed(format!("{status}: {last}"))
}

/// The child: binds itself, reads a component and writes its code. The error is for the parent, as is the exit code.
pub fn serve(memory_bytes: u64, cpu_seconds: u64, counts: bool) -> Result<(), (u8, String)> {
    confine(memory_bytes, cpu_seconds).map_err(|error| (FAILED, format!("no limits: {error}")))?;
    let failed = |error: io::Error| (FAILED, error.to_string());
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).map_err(failed)?;
    let why = |error: wasmtime::Error| format!("{error:#}");
    let code = if counts { fuel::config(engine::code()) } else { engine::code() };
    let engine = Engine::new(&code).map_err(|error| (FAILED, why(error)))?;
    let code = engine.precompile_component(&bytes).map_err(|error| (REFUSED, why(error)))?;
    let mut output = io::stdout().lock();
    output.write_all(&code).and_then(|()| output.flush()).map_err(failed)
}

/// What holds for this process from here on.
fn confine(memory_bytes: u64, cpu_seconds: u64) -> io::Result<()> {
    // Where the machine itself has no memory left, this is what goes. Some systems have no such file.
    let _raised = fs::write("/proc/self/oom_score_adj", "1000");
    // Whoever is to read the result may be gone.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // What the gateway itself is bound to cannot be raised.
    let bind = |resource, soft: u64, hard: u64| {
        let hard = getrlimit(resource).maximum.map_or(hard, |most| most.min(hard));
        setrlimit(resource, Rlimit { current: Some(soft.min(hard)), maximum: Some(hard) })
    };
    bind(Resource::As, memory_bytes, memory_bytes)?;
    // The second more lets the signal come first that says why.
    bind(Resource::Cpu, cpu_seconds, cpu_seconds.saturating_add(1))?;
    bind(Resource::Core, 0, 0)?;
    bind(Resource::Fsize, 0, 0)?;
    bind(Resource::Nofile, 32, 32)?;
    // Messages that are on their way come first.
    nice(5)?;
    Ok(())
}
