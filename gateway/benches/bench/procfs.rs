//! What the kernel has counted for a process, and how long this disk takes to keep a promise.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::histogram::Histogram;

/// `/proc/PID/stat` counts in hundredths of a second on every architecture (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// What a process has used since it began.
pub(crate) struct Usage {
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// What it has resident now, in bytes.
    pub(crate) memory: u64,
    /// The most memory it has had resident, in bytes.
    pub(crate) peak_memory: u64,
    /// Bytes it has caused to be written to storage.
    pub(crate) written: u64,
}

impl Usage {
    /// Reads the counters of a living process of this user.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).with_context(|| format!("reading {path}"))
        };
        let stat = read("stat")?;
        // The command's name stands in parentheses and may hold anything; 14 and 15 of proc(5)
        // are the eleventh and twelfth after the state that follows it.
        let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat")?;
        let ticks: u32 = fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u32>())
            .sum::<Result<_, _>>()?;
        let status = read("status")?;
        Ok(Self {
            cpu: TICK * ticks,
            memory: field(&status, "VmRSS:")? * 1024,
            peak_memory: field(&status, "VmHWM:")? * 1024,
            written: field(&read("io")?, "write_bytes:")?,
        })
    }
}

fn field(text: &str, name: &str) -> Result<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)).context(name.to_owned())?;
    let number = value.split_whitespace().next().context(name.to_owned())?;
    Ok(number.parse()?)
}

/// Times appends of 4 KiB made durable one by one: the least that a gateway which promises to keep
/// a message must wait for.
#[derive(Default)]
pub(crate) struct FsyncProbe {
    times: Histogram,
}

impl FsyncProbe {
    const ROUNDS: usize = 200;
    const LIMIT: Duration = Duration::from_secs(2);

    /// Measures in a directory, for two seconds at most.
    pub(crate) fn measure(&mut self, directory: &Path) -> Result<()> {
        let mut file = tempfile::tempfile_in(directory)?;
        let began = Instant::now();
        for _ in 0..Self::ROUNDS {
            let start = Instant::now();
            file.write_all(&[0xA5; 4096])?;
            file.sync_data()?;
            self.times.record(start.elapsed());
            if began.elapsed() > Self::LIMIT {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn median_ms(&self) -> f64 {
        self.times.quantile_ms(0.5).unwrap_or_default()
    }
}
