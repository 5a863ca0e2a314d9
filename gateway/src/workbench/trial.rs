//! A component in the very host that the gateway has, given one case after the other. For `octohooks plugin test`.

use super::{
    Problem,
    case::{Case, asked::Asked},
    verdict::Expected,
    world::World,
};
use crate::{
    model::plugin::Kind,
    plugin::{Call, CallFailure, Called, Host, HostError, Loaded, LogLine, Means, Options},
};
use similar::{ChangeTag, TextDiff};
use std::{sync::Arc, thread, time::Duration};

/// Lines around a difference.
const CONTEXT: usize = 3;

/// Milliseconds that a call may take at least.
const PATIENCE: u64 = 60_000;

/// A component that can be called.
pub struct Trial {
    own: Stage,
    /// The same once more where fuel is counted.
    counting: Option<Stage>,
}

/// A component in one host, with a world of its own.
struct Stage {
    host: Host,
    loaded: Arc<Loaded>,
    world: Arc<World>,
}

impl Stage {
    fn new(
        bytes: &[u8],
        host: impl FnOnce(Means) -> Result<Host, HostError>,
    ) -> Result<Self, String> {
        let world = Arc::new(World::default());
        let means = Means { outside: world.clone(), ..Means::default() };
        let host = host(means).map_err(|error| error.to_string())?;
        let loaded = host.load(bytes).map_err(|refused| refused.to_string())?;
        Ok(Self { host, loaded, world })
    }

    /// All calls of a case, in a new world: what came of the last.
    async fn run(&self, case: &Case) -> Option<Called<Expected>> {
        self.world.forget();
        let mut last = None;
        for call in case.calls() {
            last = Some(self.called(case.asked(), call.clone()).await);
        }
        last
    }

    async fn called(&self, asked: &Asked, call: Call) -> Called<Expected> {
        let (host, loaded) = (&self.host, &self.loaded);
        match asked {
            Asked::Message => host.call(loaded, call).await.map(Expected::from),
            Asked::Sign(request) => {
                host.sign(loaded, call, request.clone()).await.map(Expected::Headers)
            }
            Asked::Classify(answer) => {
                host.classify(loaded, call, answer.clone()).await.map(Expected::from)
            }
        }
    }
}

/// What came of a case.
#[derive(Debug)]
pub struct Ended {
    /// What the plugin made of it.
    pub got: Expected,
    /// How that differs from what is expected; none if it does not.
    pub difference: Option<String>,
    /// What the call executed, if it was counted.
    pub fuel: Option<u64>,
    /// How long it took.
    pub wall: Duration,
    /// Bytes of its memories.
    pub memory: u64,
    /// What the plugin wrote.
    pub log: Vec<LogLine>,
    /// Lines that were too many.
    pub log_dropped: u32,
    /// Where it crashed, if it did.
    pub backtrace: String,
}

impl Trial {
    /// Compiles it, under the gateway's limits, and again where fuel is counted if that is wanted.
    pub fn new(bytes: &[u8], options: Options, fuel: bool) -> Result<Self, Problem> {
        // One call after the other needs no more room. What takes long without CPU time says something of a busy machine,
        // where a gateway would call again.
        let timeout_ms = options.timeout_ms.max(PATIENCE);
        let options = Options { concurrency: 1, per_application: 1, timeout_ms, ..options };
        let (own, counting) = thread::scope(|scope| {
            let counted = options.clone();
            let counting = move || Stage::new(bytes, |means| Host::counting(counted, means));
            let counting = fuel.then(|| scope.spawn(counting));
            let own = Stage::new(bytes, |means| Host::with(options, means));
            let ended = |_| Err("the compiler ended unexpectedly".to_owned());
            (own, counting.map(|thread| thread.join().unwrap_or_else(ended)))
        });
        let own = own.map_err(Problem::new)?;
        Ok(Self { own, counting: counting.transpose().map_err(Problem::new)? })
    }

    /// What the component is for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.own.loaded.kind
    }

    /// How long it took to compile.
    #[must_use]
    pub fn compiled_in(&self) -> Option<Duration> {
        self.own.loaded.compiled_in
    }

    /// Runs one case; none came of a case without a message.
    pub async fn run(&self, case: &Case) -> Option<Ended> {
        let called = self.own.run(case).await?;
        let fuel = match &self.counting {
            Some(stage) => stage.run(case).await?.cost.fuel,
            None => None,
        };
        let (got, backtrace) = match called.result {
            Ok(got) => (got, String::new()),
            Err(failure) => (Expected::Failure((&failure).into()), backtrace(failure)),
        };
        Some(Ended {
            difference: case
                .expected
                .as_ref()
                .filter(|expected| !expected.is_met_by(&got))
                .map(|expected| difference(&expected.text(), &got.text())),
            got,
            fuel,
            wall: called.cost.wall,
            memory: called.cost.memory_peak,
            log: called.log,
            log_dropped: called.log_dropped,
            backtrace,
        })
    }
}

fn backtrace(failure: CallFailure) -> String {
    match failure {
        CallFailure::Trap { backtrace, .. } => backtrace,
        _ => String::new(),
    }
}

/// Line by line, `-` before what was expected and `+` before what came, with the lines around.
fn difference(expected: &str, got: &str) -> String {
    let diff = TextDiff::from_lines(expected, got);
    let mut text = String::new();
    for (at, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if at > 0 {
            text.push_str("  …\n");
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let mark = match change.tag() {
                ChangeTag::Delete => "- ",
                ChangeTag::Insert => "+ ",
                ChangeTag::Equal => "  ",
            };
            text.push_str(mark);
            text.push_str(change.value().trim_end_matches('\n'));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_what_was_expected_and_what_came() {
        let expected = "{\n  \"a\": 1,\n  \"b\": 2\n}";
        let got = "{\n  \"a\": 1,\n  \"b\": 3\n}";
        let shown = "  {\n    \"a\": 1,\n-   \"b\": 2\n+   \"b\": 3\n  }\n";
        assert_eq!(difference(expected, got), shown);
    }

    #[test]
    fn what_is_the_same_in_between_is_left_out() {
        let lines = |first, last| {
            let middle: String = (0..20).map(|n| format!("{n}\n")).collect();
            format!("{first}\n{middle}{last}\n")
        };
        let shown = difference(&lines("a", "z"), &lines("b", "y"));
        assert_eq!(shown, "- a\n+ b\n  0\n  1\n  2\n  …\n  17\n  18\n  19\n- z\n+ y\n");
    }
}
