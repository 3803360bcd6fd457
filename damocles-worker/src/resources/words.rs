//! The plan in words, and as JSON.

use super::sums::{CpuSum, DiskSum, DiskThread, Finding, MemorySum, Plan, StageSum, Weight};
use crate::config::Resource;
use damocles_daemon::exit::{Exit, Fatal};
use damocles_processor::cpus::CpuSet;
use damocles_types::ByteSize;
use std::{collections::BTreeSet, path::Path};

/// Disks are sold by powers of ten; what is small is shown as sizes of sectors are.
fn gb(bytes: u64) -> String {
    match bytes {
        10_000_000_000.. => format!("{} GB", bytes.div_ceil(1_000_000_000)),
        _ => ByteSize(bytes).to_string(),
    }
}

/// What is there is not rounded up.
fn gb_at_most(bytes: u64) -> String {
    match bytes {
        10_000_000_000.. => format!("{} GB", bytes / 1_000_000_000),
        _ => ByteSize(bytes).to_string(),
    }
}

fn gib(bytes: u64) -> String {
    match bytes >> 30 {
        10.. => format!("{} GiB", bytes.div_ceil(1 << 30)),
        _ => ByteSize(bytes.next_multiple_of(1 << 20)).to_string(),
    }
}

fn numbers(threads: &[&DiskThread]) -> String {
    let numbers: Vec<String> = threads.iter().map(|t| t.index.to_string()).collect();
    let word = if numbers.len() == 1 {
        "thread"
    } else {
        "threads"
    };
    format!("sealing {word} {}", numbers.join(", "))
}

/// `2 × 555 GB (32GiB sectors)`, one part for each kind of thread.
fn made_of(sum: &DiskSum) -> String {
    let mut kinds: Vec<(u64, String, usize)> = Vec::new();
    for thread in &sum.threads {
        let size = thread.size.to_string();
        match kinds
            .iter_mut()
            .find(|(need, of, _)| *need == thread.need && *of == size)
        {
            Some((.., count)) => *count += 1,
            None => kinds.push((thread.need, size, 1)),
        }
    }
    let part = |(need, size, count): &(u64, String, usize)| {
        format!("{count} × {} (a {size} sector each)", gb(*need))
    };
    kinds.iter().map(part).collect::<Vec<_>>().join(" + ")
}

pub(super) fn disk(sum: &DiskSum) -> String {
    let (fit, not): (Vec<_>, Vec<_>) = sum.threads.iter().partition(|thread| thread.fits);
    let left: Vec<String> = not
        .iter()
        .map(|t| format!("{} ({})", t.index, t.location.display()))
        .collect();
    let (threads, do_not) = match left.len() {
        1 => ("thread", "does not"),
        _ => ("threads", "do not"),
    };
    let others = sum.size.saturating_sub(sum.room);
    let others = match others * 20 > sum.size {
        true => format!(", of which others use {}", gb(others)),
        false => String::new(),
    };
    format!(
        "{} has {}{others}, and its threads need {}: {}. {} fit; sealing {threads} {} {do_not}",
        sum.mount.display(),
        gb_at_most(sum.size),
        gb(sum.need),
        made_of(sum),
        fit.len(),
        left.join(", "),
    )
}

pub(super) fn overlap(one: &str, other: &str, common: &CpuSet) -> String {
    format!(
        "{one} and {other} are both pinned to the CPUs {common}, and may compute at the same time"
    )
}

pub(super) fn cpus(sum: &CpuSum) -> String {
    let parts: Vec<String> = sum
        .children
        .iter()
        .map(|(name, cpus)| format!("{name} {cpus}"))
        .collect();
    format!(
        "processors that may compute at the same time are pinned to {} CPUs, and the machine has {}: {}",
        sum.pinned,
        sum.have,
        parts.join("; ")
    )
}

fn stages(sum: &MemorySum, huge: bool) -> String {
    let parts: Vec<String> = sum
        .stages
        .iter()
        .filter(|stage| stage.huge == huge)
        .map(|stage| {
            format!(
                "{} {} × {}",
                stage.child,
                stage.tasks,
                gib(stage.bytes / u64::from(stage.tasks))
            )
        })
        .collect();
    parts.join(", ")
}

pub(super) fn memory(sum: &MemorySum) -> String {
    format!(
        "stages that may run at once hold {}, and there are {}: {}. Let fewer run at once (processors.limitation.concurrent, `concurrent` of a child)",
        gib(sum.need),
        gib(sum.have),
        stages(sum, false)
    )
}

pub(super) fn huge_pages(sum: &MemorySum) -> String {
    format!(
        "PC1 holds {} in files on huge pages, and {} are set aside as such: {}",
        gib(sum.need_huge),
        gib(sum.huge_pages),
        stages(sum, true)
    )
}

pub(super) fn no_gpu(number: u32, children: &[String], there: usize) -> String {
    let have = match there {
        0 => "the machine shows none".to_owned(),
        1 => "the machine has GPU 0 only".to_owned(),
        there => format!("the machine has GPUs 0 to {}", there - 1),
    };
    format!("{} names GPU {number}, and {have}", children.join(" and "))
}

pub(super) fn shared_gpu(number: u32, one: &str, other: &str) -> String {
    format!(
        "{one} and {other} share GPU {number} and no lock, so that both may compute on it at once; use the key `gpus`, or one name of ext_locks in `locks` of both"
    )
}

/// Why nothing starts; None: something may.
pub fn refusal(plan: &Plan, allowed: &BTreeSet<Resource>, file: &Path) -> Option<Fatal> {
    let faults: Vec<&Finding> = plan.faults(allowed).collect();
    let lines: Vec<&str> = faults.iter().map(|f| f.message.as_str()).collect();
    if lines.is_empty() {
        return None;
    }
    let lacks_parameters = |fault: &&Finding| fault.weight == Weight::Parameters;
    let exit = match faults.iter().all(lacks_parameters) {
        true => Exit::Parameters,
        false => Exit::Config,
    };
    let file = file.display();
    let message = format!(
        "{file} plans for what this machine has not:\n  {}",
        lines.join("\n  ")
    );
    Some(Fatal::new(exit, message).hint(format!(
        "`damocles-worker plan check -c {file}` shows all sums; what may be exceeded is named in [worker] allow_oversubscription"
    )))
}

/// The plan as a person reads it: the sums, then what is wrong.
pub fn text(plan: &Plan, allowed: &BTreeSet<Resource>) -> String {
    let mut lines = Vec::new();
    for sum in &plan.disks {
        let all: Vec<_> = sum.threads.iter().collect();
        lines.push(format!(
            "disk    {}: {} of {} for {}: {}",
            sum.mount.display(),
            gb(sum.need),
            gb_at_most(sum.room),
            numbers(&all),
            made_of(sum)
        ));
    }
    let CpuSum {
        have,
        pinned,
        children,
    } = &plan.cpus;
    let who = match children.len() {
        0 => "no processor is pinned".to_owned(),
        _ => children
            .iter()
            .map(|(name, cpus)| format!("{name} {cpus}"))
            .collect::<Vec<_>>()
            .join("; "),
    };
    lines.push(format!("cpu     {pinned} of {have} pinned: {who}"));
    let memory = &plan.memory;
    lines.push(format!(
        "memory  {} of {} at most at once: {}",
        gib(memory.need),
        gib(memory.have),
        stages(memory, false)
    ));
    if memory.need_huge > 0 || memory.huge_pages > 0 {
        lines.push(format!(
            "        {} of {} on huge pages: {}",
            gib(memory.need_huge),
            gib(memory.huge_pages),
            stages(memory, true)
        ));
    }
    if !memory.unknown.is_empty() {
        let names = memory.unknown.join(", ");
        lines.push(format!(
            "        not counted, since they are other programs: {names}"
        ));
    }
    for gpu in &plan.gpus {
        let name = gpu.name.as_deref().unwrap_or("not there");
        let users = match gpu.children.as_slice() {
            [] => "nobody".to_owned(),
            users => users.join(", "),
        };
        lines.push(format!("gpu     {} ({name}): {users}", gpu.number));
    }
    for finding in &plan.findings {
        let word = match finding.refuses(allowed) {
            true => "fault",
            false => "warning",
        };
        lines.push(format!("{word}: {}", finding.message));
    }
    lines.join("\n")
}

/// The same for programs; sizes in bytes.
pub fn json(plan: &Plan, allowed: &BTreeSet<Resource>) -> serde_json::Value {
    use serde_json::json;
    let finding = |finding: &Finding| {
        let kind = match finding.weight {
            Weight::Fault => "missing".to_owned(),
            Weight::Parameters => "parameters".to_owned(),
            Weight::Over(of) => of.to_string(),
            Weight::Warning => "notice".to_owned(),
        };
        json!({
            "Kind": kind,
            "Refuses": finding.refuses(allowed),
            "Message": finding.message,
        })
    };
    let disk = |sum: &DiskSum| {
        let thread = |t: &DiskThread| json!({"Index": t.index, "Location": t.location, "SectorSize": t.size.to_string(), "Need": t.need, "Fits": t.fits});
        json!({
            "Mount": sum.mount,
            "Size": sum.size,
            "Room": sum.room,
            "Need": sum.need,
            "Threads": sum.threads.iter().map(thread).collect::<Vec<_>>(),
        })
    };
    let stage = |stage: &StageSum| json!({"Child": stage.child, "Tasks": stage.tasks, "Bytes": stage.bytes, "Huge": stage.huge});
    let gpu = |gpu: &super::GpuSum| json!({"Number": gpu.number, "Name": gpu.name, "Children": gpu.children});
    let child = |(name, cpus): &(String, String)| json!({"Child": name, "Cpus": cpus});
    let (cpus, memory) = (&plan.cpus, &plan.memory);
    json!({
        "Disks": plan.disks.iter().map(disk).collect::<Vec<_>>(),
        "Cpu": {"Have": cpus.have, "Pinned": cpus.pinned, "Children": cpus.children.iter().map(child).collect::<Vec<_>>()},
        "Memory": {
            "Have": memory.have,
            "Need": memory.need,
            "HugePages": memory.huge_pages,
            "NeedHuge": memory.need_huge,
            "Stages": memory.stages.iter().map(stage).collect::<Vec<_>>(),
            "NotCounted": memory.unknown,
        },
        "Gpus": plan.gpus.iter().map(gpu).collect::<Vec<_>>(),
        "Findings": plan.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}
