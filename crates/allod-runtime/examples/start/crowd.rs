//! Many containers at once, and one that says a lot: what each takes, and what watching it costs.
//!
//! `start crowd <OCI layout> <count>` makes so many sleeping containers, one after the other, and measures how long each
//! takes, what memory the processes beside them take, and what a round of metering costs. `start logs <OCI layout>
//! <MiB>` has one container say so much. The last line of each is one JSON object.

use std::path::Path;
use std::time::Instant;

use allod_runtime::{HostObjectKind, WorkloadId};

use crate::house::House;
use crate::{Failure, end};

/// Containers of one app: an app's network has room for 253.
const PER_APP: u64 = 100;
const METER_ROUNDS: u32 = 20;
const LINE_BYTES: u64 = 128;

/// Makes the crowd, measures it, and takes it away.
pub(crate) fn crowd(layout: &Path, count: u64) -> Result<(), Failure> {
    let house = House::open(layout)?;
    let root = house.client.identify()?.pid;
    let bare = (proportional_kib(root)?, available_kib()?);
    let mut seconds = Vec::new();
    let mut ids = Vec::new();
    for epoch in 1..=count {
        let mut spec = house.spec(epoch, Some("exec sleep 100000"));
        spec.app[..8].copy_from_slice(&(epoch / PER_APP).to_le_bytes());
        ids.push(spec.id);
        let began = Instant::now();
        house.client.create(spec)?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    let shims = shims(&house)?;
    let mut shim_kib = Vec::new();
    for shim in &shims {
        shim_kib.push(proportional_kib(*shim)?);
    }
    let crowded = (proportional_kib(root)?, available_kib()?);
    let idle = idle_cpu_seconds(root)?;
    let metering = metering(&house, root, &ids)?;
    let began = Instant::now();
    for id in &ids {
        house.client.delete(*id)?;
    }
    let removal = began.elapsed().as_secs_f64() / count.max(1) as f64;
    let left = house.close()?;
    if left != 0 {
        return Err(format!("{left} objects were left on the host").into());
    }
    let figures = serde_json::json!({
        "seconds": seconds,
        "shims": shims.len(),
        "shim_pss_kib": shim_kib,
        "root_pss_kib": [bare.0, crowded.0],
        "available_kib_less": bare.1.saturating_sub(crowded.1),
        "idle_cpu_per_second": idle,
        "meter_seconds": metering.0,
        "meter_cpu_seconds": metering.1,
        "removal_seconds": removal,
    });
    println!("{figures}");
    Ok(())
}

/// Has one container say so many MiB, and says how long it took.
pub(crate) fn logs(layout: &Path, mib: u64) -> Result<(), Failure> {
    let house = House::open(layout)?;
    let bytes = mib << 20;
    let line = "x".repeat(LINE_BYTES as usize - 1);
    let script = format!("yes {line} | head -c {bytes}");
    let mut spec = house.spec(1, Some(&script));
    let id = spec.id;
    // All of it is kept, as docker keeps it.
    spec.logs.file_bytes_max = 256 << 20;
    spec.logs.files = 16;
    let began = Instant::now();
    end(&house.client, spec)?;
    let took = began.elapsed().as_secs_f64();
    let kept = kept_bytes(&house, &id)?;
    if kept < bytes {
        return Err(format!("{kept} of {bytes} bytes were kept").into());
    }
    house.client.delete(id)?;
    house.close()?;
    println!("{}", serde_json::json!({"seconds": took, "bytes": bytes}));
    Ok(())
}

fn kept_bytes(house: &House, id: &WorkloadId) -> Result<u64, Failure> {
    let mut sum = 0;
    for file in std::fs::read_dir(allod_runtime::logs::directory(house.path(), id))? {
        sum += file?.metadata()?.len();
    }
    Ok(sum)
}

fn shims(house: &House) -> Result<Vec<i32>, Failure> {
    let objects = house.client.audit()?;
    let shims = objects.iter().filter(|it| it.kind == HostObjectKind::Shim);
    Ok(shims.filter_map(|shim| shim.name.parse().ok()).collect())
}

/// Seconds, and of those of a processor in root process and its workers, for one round of all workloads.
fn metering(house: &House, root: i32, ids: &[WorkloadId]) -> Result<(f64, f64), Failure> {
    // The first round opens the files that stay open.
    house.client.usage(ids)?;
    let (before, began) = (cpu_seconds(root)?, Instant::now());
    for _ in 0..METER_ROUNDS {
        let seen = house.client.usage(ids)?.len();
        if seen != ids.len() {
            return Err(format!("{seen} of {} workloads were measured", ids.len()).into());
        }
    }
    let rounds = f64::from(METER_ROUNDS);
    let took = began.elapsed().as_secs_f64();
    Ok((took / rounds, (cpu_seconds(root)? - before) / rounds))
}

/// What root process and guard take of one core while nothing happens.
fn idle_cpu_seconds(root: i32) -> Result<f64, Failure> {
    const SECONDS: u64 = 10;
    let before = cpu_seconds(root)?;
    std::thread::sleep(std::time::Duration::from_secs(SECONDS));
    Ok((cpu_seconds(root)? - before) / SECONDS as f64)
}

/// Processor time of a process, of the children it has reaped, and of its guard.
fn cpu_seconds(pid: i32) -> Result<f64, Failure> {
    let mut ticks = 0;
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let guards = children.split_ascii_whitespace().filter(|child| {
        let name = std::fs::read_to_string(format!("/proc/{child}/comm"));
        name.is_ok_and(|name| name.trim() == "allod-guard")
    });
    for pid in guards.map(str::to_owned).chain([pid.to_string()]) {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let fields = fields.split(' ').skip(11).take(4);
        ticks += fields
            .filter_map(|field| field.parse::<u64>().ok())
            .sum::<u64>();
    }
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn proportional_kib(pid: i32) -> Result<u64, Failure> {
    kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

fn available_kib() -> Result<u64, Failure> {
    kib("/proc/meminfo", "MemAvailable:")
}

fn kib(path: &str, name: &str) -> Result<u64, Failure> {
    let text = std::fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("{path} says nothing of {name}").into())
}
