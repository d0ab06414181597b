//! What the figures were measured on.

use serde_json::{Value, json};

/// The CPU's name, the flags that decide how fast AES-GCM and hashing are, its cores, and the kernel.
#[must_use]
pub fn describe() -> Value {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpuinfo
            .lines()
            .find(|l| l.starts_with(name))
            .and_then(|l| l.split_once(':'))
            .map_or("", |(_, v)| v.trim())
    };
    let flags: Vec<_> = field("flags")
        .split(' ')
        .filter(|f| {
            [
                "aes",
                "avx2",
                "avx512f",
                "avx512vl",
                "pclmulqdq",
                "sha_ni",
                "vaes",
                "vpclmulqdq",
            ]
            .contains(f)
        })
        .collect();
    json!({
        "cpu": field("model name"),
        "flags": flags,
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
    })
}
