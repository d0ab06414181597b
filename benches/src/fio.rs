//! Runs fio, and reads what it says.

use std::process::Command;

use serde_json::Value;

/// What one run of fio did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// MiB in a second.
    pub mib: f64,
    /// Requests in a second.
    pub iops: f64,
    /// Milliseconds that 99 % of the requests took at most.
    pub p99: f64,
}

/// Whether a program is there.
#[must_use]
pub fn is_there(program: &str) -> bool {
    Command::new("sh")
        .args([
            "-c",
            &format!("PATH=$PATH:/usr/sbin:/sbin command -v {program}"),
        ])
        .output()
        .is_ok_and(|out| out.status.success())
}

/// One run: `rw` is fio's name of the work; `args` say on what.
///
/// # Panics
/// When fio fails.
#[must_use]
pub fn run(rw: &str, block: &str, args: &[String]) -> Run {
    let mut command = Command::new("fio");
    command.args([
        "--name=it",
        "--output-format=json",
        "--group_reporting",
        "--time_based",
    ]);
    command.args([
        "--runtime=2",
        "--ramp_time=0.3",
        "--iodepth=16",
        "--randrepeat=1",
    ]);
    command
        .args([format!("--rw={rw}"), format!("--bs={block}")])
        .args(args);
    let out = command.output().expect("fio");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success(),
        "fio: {said} {}",
        String::from_utf8_lossy(&out.stderr)
    );
    // Warnings come before the JSON.
    let json: Value = serde_json::from_str(&said[said.find('{').expect("JSON")..]).expect("JSON");
    let job = &json["jobs"][0];
    let side = if rw.contains("read") {
        &job["read"]
    } else {
        &job["write"]
    };
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let percentiles =
        ["clat_ns", "lat_ns"].map(|name| number(&side[name]["percentile"]["99.000000"]));
    Run {
        mib: number(&side["bw"]) / 1024.0,
        iops: number(&side["iops"]),
        p99: percentiles[0].max(percentiles[1]) / 1e6,
    }
}
