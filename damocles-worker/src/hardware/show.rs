//! A machine in words.

use super::Hardware;
use damocles_types::ByteSize;

/// One line for each thing, in the order in which a plan asks for them.
pub fn text(machine: &Hardware) -> String {
    let list = |sets: &[String]| match sets {
        [] => "not shown".to_owned(),
        sets => sets.join(" "),
    };
    let caches: Vec<String> = machine.caches.iter().map(ToString::to_string).collect();
    let mut lines = vec![
        format!("CPUs          {} ({})", machine.cpus.count(), machine.cpus),
        format!("L3 groups     {}", list(&caches)),
        format!("memory        {}", ByteSize(machine.memory)),
        format!("huge pages    {}", ByteSize(machine.huge_pages)),
    ];
    for node in &machine.nodes {
        let cpus = node
            .cpus
            .as_ref()
            .map_or("none".to_owned(), ToString::to_string);
        let memory = ByteSize(node.memory);
        lines.push(format!(
            "NUMA node {:<3} CPUs {cpus}, {memory}",
            node.number
        ));
    }
    for (number, name) in machine.gpus.iter().enumerate() {
        lines.push(format!("GPU {number:<9} {name}"));
    }
    if machine.gpus.is_empty() {
        lines.push("GPUs          none".to_owned());
    }
    for disk in &machine.disks {
        let (size, room) = (ByteSize(disk.size), ByteSize(disk.room));
        let mount = disk.mount.display();
        lines.push(format!(
            "disk          {mount}: {size}, {room} of it for sealing"
        ));
    }
    if let Some(sizes) = &machine.parameters {
        let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
        let sizes = match sizes.as_slice() {
            [] => "of no size".to_owned(),
            sizes => format!("of {}", sizes.join(", ")),
        };
        lines.push(format!("parameters    {sizes}"));
    }
    lines.join("\n")
}
