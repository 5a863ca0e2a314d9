//! A simulation of dispatch and deliver: the real stages over the store in memory, with time, chance and receivers drawn
//! from one seed. For tests, and for whoever looks for a fault that only some order of events brings out:
//! `cargo xtask sim --seed N` plays one again.
//!
//! A [`World`] has applications and endpoints, some with plugins ([`plugins`]), and a gateway that is configured as drawn
//! ([`dice`]: breaker, adaptive limits, a rate of its own). It does one thing after the other: publishes, sometimes twice;
//! changes what receivers do ([`receivers`]) and what endpoints may take; disables and enables; sends again; sets the clock;
//! kills the gateway between a request and its record ([`slow`] writes late), or stops it ([`life`]). After every step what
//! must hold is looked at ([`books`], [`rest`]). In the end all receivers are well and plugins let through what they failed
//! on, and everything that was accepted must have come to an end ([`ends`]). Each seed is played twice, and has to come out
//! the same.

mod books;
mod dice;
mod ends;
mod life;
mod panics;
mod plugins;
mod receivers;
mod rest;
mod slow;
mod world;

pub use receivers::Receivers;
use std::{env, fmt::Write};
use world::World;

/// How many seeds a test plays.
const SEEDS: u64 = 200;
/// How many steps each has.
const STEPS: u64 = 60;
/// How many lines are shown of one that went wrong.
const SHOWN: usize = 60;

/// What came of a seed: all that happened, and what did not hold.
struct Played {
    trace: Vec<String>,
    broken: Vec<String>,
}

fn play(seed: u64, steps: u64) -> Played {
    let mut world = World::new(seed);
    for step in 0..steps {
        if world.is_broken() {
            break;
        }
        world.step(step);
    }
    world.end()
}

/// Plays a seed twice: what is wrong with it, if anything is.
fn wrong(seed: u64, steps: u64) -> Option<String> {
    let (one, two) = (play(seed, steps), play(seed, steps));
    let differs = one.trace.iter().zip(&two.trace).position(|(one, two)| one != two);
    let same = one.trace.len() == two.trace.len() && differs.is_none();
    if one.broken.is_empty() && same {
        return None;
    }
    let mut text = format!("seed {seed}: {}\n", one.broken.join("; "));
    if !same {
        let at = differs.unwrap_or_else(|| one.trace.len().min(two.trace.len()));
        let line = |played: &Played| played.trace.get(at).cloned().unwrap_or_default();
        let _written = writeln!(text, "played twice it differs: {} / {}", line(&one), line(&two));
    }
    let from = one.trace.len().saturating_sub(SHOWN);
    for line in &one.trace[from..] {
        let _written = writeln!(text, "  {line}");
    }
    let _written = write!(text, "again: cargo xtask sim --seed {seed} --steps {steps}");
    Some(text)
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn whatever_happens_nothing_is_lost_and_no_limit_is_broken() {
    let steps = number("OCTOHOOKS_SIM_STEPS").unwrap_or(STEPS);
    if let Some(seed) = number("OCTOHOOKS_SIM_SEED") {
        let played = play(seed, steps);
        played.trace.iter().for_each(|line| println!("{line}"));
        assert_eq!(wrong(seed, steps), None);
        return;
    }
    let seeds = number("OCTOHOOKS_SIM_SEEDS").unwrap_or(SEEDS);
    let found: Vec<_> = (1..=seeds).filter_map(|seed| wrong(seed, steps)).collect();
    let first = found.iter().filter_map(|text| text.lines().next());
    let all = first.collect::<Vec<_>>().join("\n");
    assert!(found.is_empty(), "{} of {seeds} seeds:\n{all}\n\n{}", found.len(), found[0]);
}
