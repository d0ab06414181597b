//! Keeping a process's memory off disks.

#![allow(unsafe_code)]

use std::ptr;

use cmkit_scratch::{MemoryPolicy, protect_process};

use crate::call::{Outcome, invalid};
use crate::census::cmk_text_list;
use crate::error::cmk_error;
use crate::result::cmk_result;

/// It is tried; what fails becomes a warning.
pub const CMK_PROTECT_BEST_EFFORT: u32 = 0;
/// If it fails, the call fails.
pub const CMK_PROTECT_REQUIRED: u32 = 1;
/// It isn't tried.
pub const CMK_PROTECT_OFF: u32 = 2;

fn policy(number: u32) -> Outcome<MemoryPolicy> {
    match number {
        CMK_PROTECT_BEST_EFFORT => Ok(MemoryPolicy::BestEffort),
        CMK_PROTECT_REQUIRED => Ok(MemoryPolicy::Required),
        CMK_PROTECT_OFF => Ok(MemoryPolicy::Off),
        other => Err(invalid(format!("{other} is no CMK_PROTECT_..."))),
    }
}

/// Keeps this process's memory from being written to a disk, as swap or as a core dump. For the whole process and all of its life: call it at the start, before there are keys. Both
/// arguments are a CMK_PROTECT_...
///
/// `memory` locks all memory, also what comes later; that needs CAP_IPC_LOCK or an unlimited RLIMIT_MEMLOCK. `core_dumps` makes the process undumpable, which keeps debuggers of the
/// same user away, and its soft RLIMIT_CORE 0. Hibernation isn't prevented.
///
/// The outputs may be NULL: what was reached, and a sentence for each thing that was tried and failed, to be freed. CMK_ERR_ACCESS_DENIED: what is required isn't allowed; the message says
/// how to allow it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_protect_process(
    memory: u32,
    core_dumps: u32,
    memory_locked: *mut bool,
    core_dumps_off: *mut bool,
    warnings: *mut *mut cmk_text_list,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; locked = optional_out(memory_locked, false); off = optional_out(core_dumps_off, false); warnings = optional_out(warnings, ptr::null_mut()); => {
        let done = protect_process(policy(memory)?, policy(core_dumps)?)?;
        if let Some(locked) = locked {
            *locked = done.memory_locked;
        }
        if let Some(off) = off {
            *off = done.core_dumps_off;
        }
        if let Some(warnings) = warnings {
            *warnings = cmk_text_list::handle(done.warnings.iter().map(String::as_str));
        }
        Ok(())
    })
}
