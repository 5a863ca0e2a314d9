//! The result, as a table to read or as JSON to keep: each figure beside its ratio to the null
//! gateway's, and below them the targets.

use std::fmt::Write;

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use super::pages::Pages;
use super::plugins::{Figure as Line, Plugins};
use super::scenario::{Measurement, Plan, Scenario};
use super::subject::Subject;

/// What the figures depend on.
pub(crate) struct Conditions {
    pub(crate) cores: usize,
    pub(crate) plan: Plan,
    /// The median time of a durable append of 4 KiB.
    pub(crate) fsync_ms: f64,
    /// The nats-server's version; `None` when there is none.
    pub(crate) nats: Option<String>,
}

/// Everything that one run measured.
pub(crate) struct Report {
    pub(crate) conditions: Conditions,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) measured: Vec<Measurement>,
    /// `None` when they were left out.
    pub(crate) pages: Option<Pages>,
    /// `None` when they were left out.
    pub(crate) plugins: Option<Plugins>,
    /// What lanes do; empty when it was left out.
    pub(crate) lanes: Vec<Line>,
}

/// One line of the table.
struct Figure {
    key: &'static str,
    label: &'static str,
    decimals: usize,
    of: fn(&Measurement) -> Option<f64>,
}

const fn figure(
    key: &'static str,
    label: &'static str,
    decimals: usize,
    of: fn(&Measurement) -> Option<f64>,
) -> Figure {
    Figure { key, label, decimals, of }
}

const FIGURES: [Figure; 16] = [
    figure("acceptedPerSecond", "accepted/s", 0, |m| Some(m.accepted_per_s)),
    figure("deliveredPerSecond", "delivered/s", 0, |m| Some(m.delivered_per_s)),
    figure("cpuMicros", "CPU µs per delivery", 1, |m| Some(m.cpu_us)),
    figure("arrivalP50Millis", "send to arrival p50 ms", 2, |m| m.arrival_p50_ms),
    figure("arrivalP99Millis", "send to arrival p99 ms", 2, |m| m.arrival_p99_ms),
    figure("acceptP50Millis", "accept p50 ms", 2, |m| m.accept_p50_ms),
    figure("acceptP99Millis", "accept p99 ms", 2, |m| m.accept_p99_ms),
    figure("peakMebibytes", "peak memory MiB", 1, |m| Some(m.peak_mib)),
    figure("writtenBytes", "bytes written per message", 0, |m| Some(m.written_bytes)),
    figure("fsyncs", "fsyncs per message", 4, |m| m.fsyncs),
    figure("accepted", "messages accepted", 0, |m| Some(m.accepted as f64)),
    figure("refused", "messages refused", 0, |m| Some(m.refused as f64)),
    figure("lost", "deliveries lost", 0, |m| Some(m.lost as f64)),
    figure("duplicated", "deliveries duplicated", 0, |m| Some(m.duplicated as f64)),
    figure("loadCpuMicros", "load tool CPU µs per delivery", 1, |m| Some(m.load_cpu_us)),
    figure("brokerCpuMicros", "nats-server CPU µs per delivery", 1, |m| m.broker_cpu_us),
];

/// One line below the table.
struct Target {
    text: String,
    /// `None` when the run did not include what it needs.
    measured: Option<f64>,
    met: fn(f64, f64) -> bool,
    bound: f64,
}

impl Report {
    /// Fails when a figure cannot be trusted because deliveries are missing.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |m: &&Measurement| m.lost > 0 || m.accepted == 0;
        if let Some(m) = self.measured.iter().find(wrong) {
            let (scenario, subject) = (m.scenario, m.subject.name());
            let (lost, accepted, strays) = (m.lost, m.accepted, m.strays);
            bail!(
                "{scenario:?}, {subject}: {lost} deliveries lost of {accepted} messages accepted; \
                 {strays} arrivals carried no number of this phase"
            );
        }
        if let Some(plugins) = self.plugins.as_ref().filter(|plugins| plugins.wrong > 0) {
            bail!("{} messages went wrong while a plugin was replaced", plugins.wrong);
        }
        Ok(())
    }

    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        for scenario in Scenario::ALL {
            if self.measured.iter().any(|m| m.scenario == scenario) {
                self.write_scenario(&mut out, scenario);
            }
        }
        if let Some(pages) = &self.pages {
            write_pages(&mut out, pages);
        }
        if let Some(plugins) = &self.plugins {
            self.write_plugins(&mut out, plugins);
        }
        if !self.lanes.is_empty() {
            out.push_str("lanes\n");
            for Line { label, value, decimals, .. } in &self.lanes {
                writeln!(out, "  {label:<48} {:>10}", number(*value, *decimals)).ok();
            }
            out.push('\n');
        }
        self.write_targets(&mut out);
        out.push_str(&self.conditions.describe());
        out
    }

    fn write_scenario(&self, out: &mut String, scenario: Scenario) {
        let title = scenario.title(&self.conditions.plan);
        let subjects: Vec<_> =
            self.subjects.iter().copied().filter(|&s| scenario.suits(s)).collect();
        line(out, &title, subjects.iter().map(|&s| (s.name().into(), ratio_title(s))));
        for figure in &FIGURES {
            let null = self.figure(figure, scenario, Subject::Null);
            let cells = subjects.iter().map(|&subject| {
                let value = self.figure(figure, scenario, subject);
                let ratio = value.zip(null).filter(|&(_, null)| null > 0.0);
                let ratio = ratio.filter(|_| subject != Subject::Null);
                (number(value, figure.decimals), ratio.map_or(String::new(), ratio_text))
            });
            line(out, &format!("  {}", figure.label), cells);
        }
        out.push('\n');
    }

    fn write_plugins(&self, out: &mut String, plugins: &Plugins) {
        out.push_str("plugins\n");
        let added = ("CPU µs that one adds to a delivery".to_owned(), self.added(), 1);
        let figures = plugins.figures.iter().map(|f| (f.label.clone(), f.value, f.decimals));
        for (label, value, decimals) in std::iter::once(added).chain(figures) {
            writeln!(out, "  {label:<40} {:>10}", number(value, decimals)).ok();
        }
        out.push('\n');
    }

    /// What the plugin adds to the CPU time of a delivered message.
    fn added(&self) -> Option<f64> {
        let cpu = |subject| self.find(Scenario::Saturation, subject).map(|m| m.cpu_us);
        Some(cpu(Subject::Plugin)? - cpu(Subject::Plain)?)
    }

    fn write_targets(&self, out: &mut String) {
        out.push_str("targets\n");
        for target in self.targets() {
            let verdict = match target.verdict() {
                None => "not measured",
                Some(true) => "met",
                Some(false) => "MISSED",
            };
            let value = number(target.measured, 2);
            writeln!(out, "  {:<62} {value:>12}  {verdict}", target.text).ok();
        }
    }

    pub(crate) fn json(&self) -> Value {
        let measured = self.measured.iter().map(|m| {
            let mut object = Map::new();
            object.insert("scenario".into(), format!("{:?}", m.scenario).to_lowercase().into());
            object.insert("subject".into(), m.subject.name().into());
            for figure in &FIGURES {
                object.insert(figure.key.into(), json!((figure.of)(m)));
            }
            Value::Object(object)
        });
        let targets = self.targets().into_iter().map(|target| {
            let met = target.verdict();
            json!({"target": target.text, "bound": target.bound, "measured": target.measured, "met": met})
        });
        json!({
            "cores": self.conditions.cores,
            "seconds": self.conditions.plan.length.as_secs(),
            "connections": self.conditions.plan.connections,
            "rate": self.conditions.plan.rate,
            "backlog": self.conditions.plan.backlog,
            "nats": self.conditions.nats,
            "fsyncMillis": self.conditions.fsync_ms,
            "pages": self.pages.map(|pages| json!({
                "rows": pages.rows,
                "deliveriesMillis": pages.deliveries,
                "failedMillis": pages.failed,
                "messagesMillis": pages.messages,
            })),
            "plugins": self.plugins.as_ref().map(|plugins| {
                let figures = plugins.figures.iter().map(|f| (f.key.to_owned(), json!(f.value)));
                let added = ("addedCpuMicros".to_owned(), json!(self.added()));
                figures.chain([added]).collect::<Map<_, _>>()
            }),
            "lanes": self.lanes.iter().map(|f| (f.key.to_owned(), json!(f.value))).collect::<Map<_, _>>(),
            "measured": measured.collect::<Vec<_>>(),
            "targets": targets.collect::<Vec<_>>(),
        })
    }

    /// What Octohooks must reach, with its plugin and from a stream. The absolute figures are ten
    /// times what the strongest open peer reached on two cores with the load beside it; they
    /// orient, and the ratio decides.
    fn targets(&self) -> Vec<Target> {
        let of = |scenario, subject, of: fn(&Measurement) -> Option<f64>| {
            self.find(scenario, subject).and_then(of)
        };
        let rate = |m: &Measurement| Some(m.delivered_per_s);
        let ours = of(Scenario::Saturation, Subject::Plugin, rate);
        let null = of(Scenario::Saturation, Subject::Null, rate);
        let accepted = |m: &Measurement| Some(m.accepted_per_s);
        let http = of(Scenario::Saturation, Subject::Plain, accepted);
        let backlog = of(Scenario::Backlog, Subject::Nats, accepted);
        let p99 = 2.9 + self.conditions.fsync_ms;
        let pace = self.conditions.plan.rate;
        let target = |text: &str, measured, met, bound| Target {
            text: text.to_owned(),
            measured,
            met,
            bound,
        };
        let least: fn(f64, f64) -> bool = |value, bound| value >= bound;
        vec![
            target(
                "rate with a plugin, of the null gateway's: at least 0.55",
                ours.zip(null).map(|(ours, null)| ours / null),
                least,
                0.55,
            ),
            target("messages/s with a plugin: at least 8,090", ours, least, 8090.0),
            target(
                "CPU µs per message with a plugin: at most 190",
                of(Scenario::Saturation, Subject::Plugin, |m| Some(m.cpu_us)),
                |value, bound| value <= bound,
                190.0,
            ),
            target(
                &format!("p99 ms at {pace}/s with a plugin: below 2.9 + one fsync = {p99:.2}"),
                of(Scenario::Paced, Subject::Plugin, |m| m.arrival_p99_ms),
                |value, bound| value < bound,
                p99,
            ),
            target(
                "deliveries/s to five endpoints with a plugin: at least 16,000",
                of(Scenario::Fanout, Subject::Plugin, rate),
                least,
                16_000.0,
            ),
            target(
                "accepted/s of a stream's backlog, of HTTP's: at least 1.00",
                backlog.zip(http).map(|(backlog, http)| backlog / http),
                least,
                1.0,
            ),
            target(
                "p50 of the last pages of a list, of the first's: at most 2",
                self.pages.map(|pages| {
                    let ratio = |(first, last): (f64, f64)| last / first;
                    ratio(pages.deliveries).max(ratio(pages.failed)).max(ratio(pages.messages))
                }),
                |value, bound| value <= bound,
                2.0,
            ),
            target(
                "others' p99 beside receivers who hang, of alone: at most 2",
                self.lane("fairnessRatio"),
                |value, bound| value <= bound,
                2.0,
            ),
            target(
                "of a rate limit, used over 10 s, per cent: at least 98",
                self.lane("used1000Percent")
                    .zip(self.lane("used5000Percent"))
                    .map(|(a, b)| a.min(b)),
                |value, bound| value >= bound,
                98.0,
            ),
            target(
                "memory of a million waiting deliveries MiB: below 256",
                self.lane("waitingMillionMebibytes"),
                |value, bound| value < bound,
                256.0,
            ),
            target(
                "delivered/s to 1, 100 and many endpoints, least of most: at least 0.8",
                self.lane("throughputRatio"),
                |value, bound| value >= bound,
                0.8,
            ),
            target(
                "CPU with many idle endpoints, per cent: at most 0.1",
                self.lane("idlePercent"),
                |value, bound| value <= bound,
                0.1,
            ),
            target(
                "others' p99 beside a plugin that does harm, of alone: at most 1.5",
                self.plugins.as_ref().and_then(|plugins| plugins.harm),
                |value, bound| value <= bound,
                1.5,
            ),
        ]
    }

    fn lane(&self, key: &str) -> Option<f64> {
        self.lanes.iter().find(|line| line.key == key).and_then(|line| line.value)
    }

    fn figure(&self, figure: &Figure, scenario: Scenario, subject: Subject) -> Option<f64> {
        self.find(scenario, subject).and_then(figure.of)
    }

    fn find(&self, scenario: Scenario, subject: Subject) -> Option<&Measurement> {
        self.measured.iter().find(|m| m.scenario == scenario && m.subject == subject)
    }
}

impl Target {
    fn verdict(&self) -> Option<bool> {
        self.measured.map(|value| (self.met)(value, self.bound))
    }
}

impl Conditions {
    fn describe(&self) -> String {
        let nats = match &self.nats {
            None => "without NATS: no nats-server was given".into(),
            Some(version) => format!(
                "nats is plain with its messages coming over NATS: {version} with its defaults, on \
                 the same\ncores; all requests on one connection, all deliveries part of the backlog"
            ),
        };
        format!(
            "\nconditions: {} cores, shared by the gateway, the load and the sink; {} s each after \
             a warm-up;\n{} connections, bodies of 1 KiB, over the loopback interface; a durable \
             append of 4 KiB takes {:.2} ms (p50);\n{nats}.",
            self.cores,
            self.plan.length.as_secs(),
            self.plan.connections,
            self.fsync_ms
        )
    }
}

fn write_pages(out: &mut String, pages: &Pages) {
    let rows = number(Some(pages.rows as f64), 0);
    writeln!(out, "pages: 100 of {rows} deliveries, p50 ms        first       last  ratio").ok();
    for (label, (first, last)) in [
        ("an endpoint's deliveries", pages.deliveries),
        ("its failed ones", pages.failed),
        ("its application's messages", pages.messages),
    ] {
        let ratio = last / first;
        writeln!(out, "  {label:<40} {first:>10.3} {last:>10.3} {ratio:>6.2}").ok();
    }
    out.push('\n');
}

fn line(out: &mut String, label: &str, cells: impl Iterator<Item = (String, String)>) {
    write!(out, "{label:<42}").ok();
    for (value, ratio) in cells {
        write!(out, " {value:>10} {ratio:>6}").ok();
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
}

fn ratio_title(subject: Subject) -> String {
    if subject == Subject::Null { String::new() } else { "×null".into() }
}

fn ratio_text((value, null): (f64, f64)) -> String {
    format!("{:.2}", value / null)
}

/// A number with its thousands apart, or a dash.
fn number(value: Option<f64>, decimals: usize) -> String {
    let Some(value) = value else { return "–".into() };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}
