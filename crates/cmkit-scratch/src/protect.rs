//! Keeping a process's memory off disks.

use std::fs;

use cmkit::{Error, Result};
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// How much a protection of the process matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryPolicy {
    /// Without it nothing starts.
    Required,
    /// It is tried; what fails becomes a warning.
    #[default]
    BestEffort,
    /// It isn't tried.
    Off,
}

/// What was done to protect the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Protection {
    /// None of its memory is swapped, from now on.
    pub memory_locked: bool,
    /// A crash leaves no picture of its memory, and other processes of the same user can't read it.
    pub core_dumps_off: bool,
    /// What was tried and failed, and what to do, in a sentence each.
    pub warnings: Vec<String>,
}

/// Keeps this process's memory from being written to a disk, as swap or as a core dump. For the whole process and all of its life; for a program's
/// start, before there are keys.
///
/// * `memory`: locks all memory, also what comes later (`mlockall`). Pages are taken as they are touched, so it costs nothing by itself. Needs
///   `CAP_IPC_LOCK` or an unlimited `RLIMIT_MEMLOCK`: under a limited one the allocation that goes beyond it would end the process some time
///   later, therefore it counts as a failure now. Hibernation isn't prevented.
/// * `core_dumps`: makes the process undumpable and its `RLIMIT_CORE` 0, the soft one: a job that is started may raise its own again. Debuggers
///   and profilers of the same user can't attach any more.
///
/// Neither is inherited by programs that are started, but that limit.
///
/// # Errors
/// * [`Error::NotPermitted`]: what is [`Required`](MemoryPolicy::Required) isn't allowed; says how to allow it.
/// * [`Error::Io`]: what is required failed otherwise.
pub fn protect_process(memory: MemoryPolicy, core_dumps: MemoryPolicy) -> Result<Protection> {
    let mut warnings = Vec::new();
    let core_dumps_off = attempt(core_dumps, no_core_dumps, &mut warnings)?;
    let memory_locked = attempt(memory, lock_memory, &mut warnings)?;
    Ok(Protection {
        memory_locked,
        core_dumps_off,
        warnings,
    })
}

fn attempt(
    policy: MemoryPolicy,
    work: impl FnOnce() -> Result<()>,
    warnings: &mut Vec<String>,
) -> Result<bool> {
    if policy == MemoryPolicy::Off {
        return Ok(false);
    }
    match work() {
        Ok(()) => Ok(true),
        Err(error) if policy == MemoryPolicy::Required => Err(error),
        Err(error) => {
            warnings.push(error.to_string());
            Ok(false)
        }
    }
}

fn lock_memory() -> Result<()> {
    let limit = getrlimit(Resource::Memlock).current;
    if let Some(limit) = limit
        && !may_lock_all()
    {
        return Err(refused(&format!("RLIMIT_MEMLOCK is {limit} bytes")));
    }
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(all).map_err(|e| match e {
        Errno::PERM | Errno::NOMEM | Errno::AGAIN => refused(&e.to_string()),
        _ => system("lock the memory of this process", e),
    })
}

fn refused(why: &str) -> Error {
    Error::NotPermitted {
        problem: format!(
            "the memory of this process can't be locked: {why}; run as root, give it CAP_IPC_LOCK, \
             or lift the limit (LimitMEMLOCK=infinity in its systemd unit, `ulimit -l unlimited`, `--ulimit memlock=-1` for a container); \
             without it keys may get into the swap space"
        ),
    }
}

/// Whether the limit doesn't count: `CAP_IPC_LOCK`, given by the system itself. Root of a user namespace has it too, and it means nothing there.
fn may_lock_all() -> bool {
    const IPC_LOCK: u32 = 14;
    // The inode of the first user namespace is fixed in the kernel: PROC_USER_INIT_INO.
    const FIRST: &str = "user:[4026531837]";
    let is_first = fs::read_link("/proc/self/ns/user").is_ok_and(|ns| ns.as_os_str() == FIRST);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let effective = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    is_first && effective.is_some_and(|set| set >> IPC_LOCK & 1 == 1)
}

fn no_core_dumps() -> Result<()> {
    // The limit alone isn't enough: it doesn't count for dumps that go to a program.
    let off = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    off.map_err(|e| system("make this process undumpable", e))?;
    let limit = Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Core)
    };
    let set = setrlimit(Resource::Core, limit);
    set.map_err(|e| system("set the limit of core dumps to 0", e))
}

fn system(operation: &'static str, error: Errno) -> Error {
    Error::Io {
        operation,
        path: None,
        source: std::sync::Arc::new(error.into()),
    }
}
