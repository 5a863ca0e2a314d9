//! The load benchmark, for whoever must know what a message costs: `cargo xtask bench`, or
//! `cargo bench --bench bench -- ARGS`.
//!
//! The cast: this process writes messages ([`load`], [`nats`]) and receives deliveries ([`sink`])
//! on one thread, and keeps the books ([`ledger`]); the gateway under test ([`subject`]) is a
//! process of its own, so that its CPU, memory and writes are counted alone ([`procfs`]), and so is
//! the nats-server ([`broker`]). The subjects are Octohooks without and with a plugin, without one
//! behind its NATS door, and a gateway that does nothing ([`null`]), which is this very program
//! started again in another role. Pages of long lists ([`pages`]) are read from a store of
//! this process's own. What plugins alone cost, and whom, is in [`plugins`] and [`neighbours`]; what lanes do, in [`lanes`]. A figure measured here depends on the machine; its
//! ratio to the null gateway on the same machine, in the same run, is what can be compared.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is its result")]
#![allow(clippy::disallowed_methods, reason = "a load tool reads the clock and spawns tasks")]

mod bench {
    pub(crate) mod scenario;
    pub(crate) mod load;
    pub(crate) mod nats;
    pub(crate) mod sink;
    pub(crate) mod ledger;
    pub(crate) mod subject;
    pub(crate) mod broker;
    pub(crate) mod null;
    pub(crate) mod report;
    pub(crate) mod wire;
    pub(crate) mod histogram;
    pub(crate) mod procfs;
    pub(crate) mod lanes;
    pub(crate) mod pages;
    pub(crate) mod plugins;
    pub(crate) mod neighbours;
}

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

use bench::broker;
use bench::lanes;
use bench::null;
use bench::pages;
use bench::plugins;
use bench::procfs::FsyncProbe;
use bench::report::{Conditions, Report};
use bench::scenario::{self, Measurement, Plan, Scenario};
use bench::subject::{Launch, Subject};

/// The gateway's own, so that the null gateway has no handicap.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Measures what a message costs: rate, CPU, memory, writes and latency, beside a gateway that
/// does nothing.
#[derive(Parser)]
#[command(name = "bench")]
struct Args {
    /// The gateway to measure; by default the one cargo built beside the benchmark.
    #[arg(long, value_name = "PATH", env = "BENCH_GATEWAY")]
    gateway: Option<PathBuf>,
    /// The component that the `plugin` subject runs.
    #[arg(long, value_name = "PATH", default_value = PLUGIN)]
    plugin: PathBuf,
    /// The nats-server of the `nats` subject, which is left out without one.
    #[arg(long, value_name = "PATH", env = "NATS_SERVER")]
    nats_server: Option<PathBuf>,
    /// How long each measured phase lasts.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Phases of two seconds and a tenth of the backlog: enough to see that everything works, too
    /// short for a p99.
    #[arg(long)]
    quick: bool,
    /// Connections of the closed loop; over NATS, requests in flight.
    #[arg(long, default_value_t = 128)]
    connections: usize,
    /// Messages per second of the open loop.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Messages that wait in a stream when the gateway starts.
    #[arg(long, default_value_t = 200_000)]
    backlog: usize,
    /// Deliveries in the lists whose pages are read; 0 leaves them out.
    #[arg(long, default_value_t = 1_000_000)]
    rows: usize,
    /// Distinct plugins that are loaded at once; 0 leaves out all that is measured of plugins alone.
    #[arg(long, default_value_t = 500)]
    plugins: usize,
    /// Endpoints with nothing to do; 0 leaves out all that is measured of lanes.
    #[arg(long, default_value_t = 10_000)]
    endpoints: usize,
    /// What is measured of lanes.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "accuracy,fairness,waiting,endpoints"
    )]
    lanes: Vec<lanes::Part>,
    /// The scenarios to run.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "saturation,backlog,paced,fanout"
    )]
    only: Vec<Scenario>,
    /// The gateways to run them against.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "null,plain,plugin,nats")]
    subjects: Vec<Subject>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
    /// Cargo passes it to every benchmark, but not when `cargo test --all-targets` runs one.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program is when it starts itself again.
#[derive(Subcommand)]
enum Role {
    /// The gateway that does nothing.
    #[command(hide = true)]
    Null {
        #[arg(long)]
        listen: SocketAddr,
        /// Where each message's payload is sent.
        targets: Vec<String>,
    },
}

const PLUGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/prebuilt/sms-status.wasm");

/// Set by cargo for a benchmark of the package that has the binary.
const BUILT_GATEWAY: Option<&str> = option_env!("CARGO_BIN_EXE_octohooks");

/// Stores live below the build directory: on the disk that will be measured, and never in `/tmp`,
/// which may be memory.
const SCRATCH: Option<&str> = option_env!("CARGO_TARGET_TMPDIR");

fn main() -> ExitCode {
    let Err(error) = run(Args::parse()) else {
        return ExitCode::SUCCESS;
    };
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn run(args: Args) -> Result<()> {
    if let Some(Role::Null { listen, targets }) = args.role {
        return null::serve(listen, &targets);
    }
    if !args.bench {
        println!("nothing is measured without --bench");
        return Ok(());
    }
    // reqwest is built without a TLS provider, and asks for one even to speak plain HTTP.
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            outcome = measure(args) => outcome,
            // Returning drops the gateway, which kills it.
            stopped = stop_signal() => { stopped?; bail!("interrupted") }
        }
    })
}

async fn measure(mut args: Args) -> Result<()> {
    let scratch = PathBuf::from(SCRATCH.unwrap_or("target/tmp"));
    std::fs::create_dir_all(&scratch).with_context(|| format!("making {}", scratch.display()))?;
    let seconds = if args.quick { 2 } else { args.seconds };
    let plan = Plan {
        length: Duration::from_secs(seconds),
        connections: args.connections,
        rate: args.rate,
        backlog: if args.quick { args.backlog / 10 } else { args.backlog },
    };
    let launch = Launch {
        gateway: args.gateway.clone().or_else(|| BUILT_GATEWAY.map(PathBuf::from)),
        plugin: args.plugin.clone(),
        nats_server: args.nats_server.clone(),
        scratch: std::path::absolute(&scratch)?,
    };

    let nats = launch.nats_server.as_deref().map(broker::version).transpose()?;
    if nats.is_none() {
        eprintln!("without NATS: --nats-server and NATS_SERVER name no nats-server");
        args.subjects.retain(|&subject| subject != Subject::Nats);
    }

    let mut fsync = FsyncProbe::default();
    fsync.measure(&launch.scratch)?;
    let mut measured = Vec::new();
    let outcome = measure_all(&args, &plan, &launch, &mut measured).await;
    fsync.measure(&launch.scratch)?;
    let rows = if args.quick { args.rows / 10 } else { args.rows };
    let pages = match rows {
        0 => None,
        rows => {
            if !args.json {
                println!("… pages of {rows} deliveries");
            }
            Some(pages::measure(rows, &launch.scratch).await.context("reading pages")?)
        }
    };

    let plugins = match if args.quick { args.plugins / 10 } else { args.plugins } {
        0 => None,
        count => {
            if !args.json {
                println!("… plugins: {count} of them, one replaced, one that does harm");
            }
            Some(plugins::measure(count, &plan, &launch).await.context("plugins")?)
        }
    };

    let lanes = match if args.quick { args.endpoints / 10 } else { args.endpoints } {
        0 => Vec::new(),
        most => {
            if !args.json {
                println!("… lanes: limits, neighbours who hang, {most} endpoints");
            }
            lanes::measure(&args.lanes, most, &plan, &launch).await.context("lanes")?
        }
    };

    let cores = std::thread::available_parallelism()?.get();
    let conditions = Conditions { cores, plan, fsync_ms: fsync.median_ms(), nats };
    let report = Report { conditions, subjects: args.subjects, measured, pages, plugins, lanes };
    match args.json {
        true => println!("{:#}", report.json()),
        false => println!("\n{}", report.table()),
    }
    outcome?;
    report.check()
}

/// Runs every scenario against every subject; what it measured before a failure stays.
async fn measure_all(
    args: &Args,
    plan: &Plan,
    launch: &Launch,
    measured: &mut Vec<Measurement>,
) -> Result<()> {
    for &scenario in &args.only {
        for &subject in args.subjects.iter().filter(|&&subject| scenario.suits(subject)) {
            if !args.json {
                println!("… {}, {}", scenario.title(plan), subject.name());
            }
            let one = scenario::run(scenario, subject, plan, launch).await;
            measured.push(one.with_context(|| format!("{scenario:?} against {subject:?}"))?);
        }
    }
    Ok(())
}

async fn stop_signal() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    Ok(())
}
