//! What a call's end means: whose doing it was.

use crate::plugin::{
    call::{CallFailure, Done, cut, reason},
    check,
    limits::{Options, Refused, TABLE_ELEMENTS},
    outside::NotGranted,
    state::State,
};
use wasmtime::{Trap, WasmBacktrace};

/// Stops a guest whose CPU time is used up.
#[derive(Debug, thiserror::Error)]
#[error("out of CPU time")]
pub(super) struct OutOfCpu;

/// What an attempt to run a guest ends with, unless its time is up.
pub(in crate::plugin) type Ran = wasmtime::Result<Result<Done, CallFailure>>;

/// Says whose doing it was that a call ended.
pub(in crate::plugin) fn outcome(
    ran: Ran,
    state: &State,
    options: &Options,
) -> Result<Done, CallFailure> {
    let error = match ran {
        Ok(answer) => {
            let done = answer?;
            match &done {
                Done::Verdict(verdict) => check::verdict(verdict, &state.tenant, options)?,
                Done::Headers(headers) => check::signature(headers)?,
                Done::Meaning(_) | Done::Schema(_) => {}
            }
            return Ok(done);
        }
        Err(error) => error,
    };
    Err(if let Some(NotGranted(grant)) = error.downcast_ref() {
        CallFailure::NotGranted(grant)
    } else if error.is::<OutOfCpu>() {
        CallFailure::CpuLimit(options.cpu_ms)
    } else if let Some(refused) = state.memory.refused {
        match refused {
            Refused::Memory => CallFailure::MemoryLimit(options.memory_bytes),
            Refused::Table => CallFailure::TableLimit(TABLE_ELEMENTS),
        }
    } else if out_of_fuel(&error) {
        CallFailure::OutputTooLarge(options.output_bytes)
    } else {
        let trap = error.downcast_ref::<Trap>().map(ToString::to_string);
        let backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string);
        CallFailure::Trap {
            reason: reason(trap.unwrap_or_else(|| error.root_cause().to_string())),
            backtrace: cut(backtrace.unwrap_or_default(), BACKTRACE),
        }
    })
}

/// Bytes kept of a backtrace.
const BACKTRACE: usize = 4096;

/// Whether the guest handed over more than [`Options::fuel`]. wasmtime has no name for this error; a test
/// holds it to these words.
fn out_of_fuel(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls")
}
