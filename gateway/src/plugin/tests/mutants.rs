//! Components with bytes changed, cut off, doubled or swapped, from a seed: whatever comes in is refused or runs under the
//! limits, and the host goes on.

use super::*;

/// Most are refused within a moment, so that all take some fifteen seconds.
const COUNT: u32 = 100_000;
/// What a mutant that is longer than text would be is made of: that often.
const LARGE_ONE_IN: u32 = 100;

/// SplitMix64: the same numbers for a seed everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).expect("below a size")
    }
}

fn mutant(original: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        match numbers.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, numbers.next().to_le_bytes()[0]),
            2 => {
                let end = (at + numbers.below(64)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let end = (at + numbers.below(64)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            4 => {
                let other = numbers.below(bytes.len());
                if !bytes.is_empty() {
                    bytes.swap(at, other);
                }
            }
            // A length, a count or an index at its largest.
            5 => drop(bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f])),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << numbers.below(8);
                }
            }
        }
    }
    bytes
}

/// What became of them: refused, failed, and answered.
async fn survive(seed: u64, count: u32) -> [u32; 3] {
    let options = Options { concurrency: 2, cpu_ms: 20, ..Options::default() };
    let stage = Stage::with(Options { timeout_ms: 60_000, memory_bytes: 8 << 20, ..options });
    let tenant = Arc::new(tenant(id(1)));
    let small = [
        component(1, &many_dispatches(3)),
        component(2, "(drop (memory.grow (i32.const 1)))"),
        component_with(
            "",
            "",
            &module(LOG, 1, "(call $write (i32.const 1) (i32.const 0) (i32.const 9))"),
        ),
    ];
    let large = scripted();
    let mut numbers = Numbers(seed);
    let mut came = [0; 3];
    for n in 0..count {
        let original = match n % LARGE_ONE_IN {
            0 => &large,
            _ => &small[numbers.below(small.len())],
        };
        let bytes = mutant(original, &mut numbers);
        let admitted = stage.host.admit(tenant.clone(), bytes.into()).await;
        let end = match admitted {
            Err(rejected) => {
                assert!(rejected.is_fault(), "mutant {n} of seed {seed}: {rejected}");
                0
            }
            Ok(loaded) => {
                let called = stage.host.call(&loaded, call(r#"{"do":"pass"}"#)).await;
                assert!(called.log.len() <= 64, "mutant {n} of seed {seed}");
                if called.result.is_err() { 1 } else { 2 }
            }
        };
        came[end] += 1;
        if n % 500 == 0 {
            stage.still_works().await;
        }
    }
    stage.still_works().await;
    came
}

const LOG: &str =
    r#"(import "octohooks:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32)))"#;

fn many_dispatches(count: u32) -> String {
    format!(
        "(i32.store (i32.const 72) (i32.const 2)) (i32.store (i32.const 76) (i32.const 1024))
         (i32.store (i32.const 80) (i32.const {count}))"
    )
}

#[tokio::test]
async fn a_hundred_thousand_mutants_are_refused_or_run_and_harm_nobody() {
    let seed = std::env::var("MUTANT_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let [refused, failed, answered] = survive(seed, COUNT).await;
    assert!(refused > 0 && failed > 0 && answered > 0, "{refused} {failed} {answered}");
}
