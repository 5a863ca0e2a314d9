//! `octohooks plugin test`: golden cases, with what they cost.

use super::{Named, OUTPUT, failed, limits, size};
use crate::{
    cli::failure::{Failure, Outcome, plain, plain_lines},
    model::plugin::Kind,
    workbench::{
        case::Case,
        trial::{Ended, Trial},
    },
};
use clap::Args;
use std::{path::PathBuf, time::Duration};
use tokio::runtime::Builder;

/// Which plugin, and how.
#[derive(Debug, Args)]
pub struct Test {
    #[command(flatten)]
    named: Named,
    /// The folder with the cases [default: `cases` in the plugin's folder, or beside the component]
    #[arg(long, value_name = "FOLDER")]
    cases: Option<PathBuf>,
    /// Only the cases whose names have this in them
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Write what came of each case as what is expected
    #[arg(long)]
    update: bool,
    /// Do without the figures for fuel, which need the component compiled once more
    #[arg(long)]
    no_fuel: bool,
    /// The gateway's configuration file, for its limits [default: the default limits]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show the log of every case, not only of those that differ
    #[arg(long)]
    log: bool,
}

impl Test {
    /// Does it.
    pub fn run(self) -> Outcome {
        let options = limits(self.config.as_deref())?;
        let found = self.named.find()?;
        let folder = self.cases.as_ref().unwrap_or(&found.cases);
        let mut cases = Case::all(folder).map_err(failed)?;
        if let Some(text) = &self.only {
            cases.retain(|case| case.name.contains(text));
        }
        if cases.is_empty() {
            let folder = folder.display();
            return Err(Failure::failed(format!(
                "no cases in {folder}: write what the plugin is given as {folder}/NAME.json, and run this with --update"
            )));
        }
        let trial = Trial::new(&found.bytes, options, !self.no_fuel).map_err(failed)?;
        if let Some(case) = cases.iter().find(|case| case.asked().kind() != trial.kind()) {
            let (name, asked) = (plain(&case.name), field(case.asked().kind()));
            let own = field(trial.kind());
            return Err(Failure::failed(format!(
                "the case {name} has `{asked}`; a case of {} has `{own}`",
                plain(&found.name)
            )));
        }
        OUTPUT.raw(&head(&found.name, found.bytes.len() as u64, trial.compiled_in()))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::failed(format!("the runtime: {error}")))?;
        let width = cases.iter().map(|case| case.name.len()).max().unwrap_or(0);
        let (mut differ, mut written) = (0, 0);
        for case in &cases {
            let Some(ended) = runtime.block_on(trial.run(case)) else { continue };
            let is_met = ended.difference.is_none() && case.expected.is_some();
            if !is_met && self.update {
                case.update(&ended.got).map_err(failed)?;
                written += 1;
            } else if !is_met {
                differ += 1;
            }
            OUTPUT.raw(&self.shown(case, &ended, is_met, width))?;
        }
        let total = cases.len();
        let passed = total - differ - written;
        match (differ, written) {
            (0, 0) => OUTPUT.raw(&format!("{total} passed")),
            (0, _) => OUTPUT.raw(&format!("{passed} passed, {written} written")),
            _ => Err(Failure::failed(format!(
                "{differ} of {total} differ; --update makes what came what is expected"
            ))),
        }
    }

    /// A case as a line, and what there is to say of it below.
    fn shown(&self, case: &Case, ended: &Ended, is_met: bool, width: usize) -> String {
        let mark = match (is_met, self.update) {
            (true, _) => "ok     ",
            (false, true) => "written",
            (false, false) => "DIFFERS",
        };
        let fuel =
            ended.fuel.map_or_else(String::new, |fuel| format!("  {:>11} fuel", digits(fuel)));
        let (time, memory) = (time(ended.wall), size(ended.memory));
        let name = plain(&case.name);
        let mut text = format!("  {mark}  {name:width$}{fuel}  {time:>9}  {memory:>8}\n");
        let mut below = |title: &str, lines: &str| {
            text.push_str(&format!("          {title}\n"));
            for line in plain_lines(lines).lines() {
                text.push_str(&format!("            {line}\n"));
            }
        };
        if !is_met && !self.update {
            match &ended.difference {
                Some(difference) => below("- expected, + got:", difference),
                None => below("nothing is expected yet; what came:", &ended.got.text()),
            }
            if !ended.backtrace.is_empty() {
                below("it crashed in:", &ended.backtrace);
            }
        }
        if !ended.log.is_empty() && (self.log || (!is_met && !self.update)) {
            let mut lines: String = ended
                .log
                .iter()
                .map(|line| {
                    format!("{:5} {}\n", format!("{:?}", line.level).to_lowercase(), line.text)
                })
                .collect();
            if ended.log_dropped > 0 {
                lines.push_str(&format!("and {} lines more, over the limit\n", ended.log_dropped));
            }
            below("its log:", &lines);
        }
        text
    }
}

/// What a case has for a plugin of that kind.
const fn field(kind: Kind) -> &'static str {
    match kind {
        Kind::Transform => "message",
        Kind::Sign => "sign",
        Kind::Classify => "classify",
    }
}

fn head(name: &str, bytes: u64, compiled_in: Option<Duration>) -> String {
    let compiled =
        compiled_in.map_or_else(String::new, |took| format!(", compiled in {}", time(took)));
    format!("{}: {}{compiled}", plain(name), size(bytes))
}

/// With a comma between thousands.
fn digits(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn time(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{:.2} ms", time.as_secs_f64() * 1000.0),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_people() {
        let table = [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")];
        for (number, expected) in table {
            assert_eq!(digits(number), expected);
        }
        assert_eq!(time(Duration::from_micros(1234)), "1.23 ms");
        assert_eq!(time(Duration::from_millis(12_345)), "12.3 s");
        assert_eq!([size(12), size(2048), size(3 << 20)], ["12 B", "2 KiB", "3.0 MiB"]);
    }
}
