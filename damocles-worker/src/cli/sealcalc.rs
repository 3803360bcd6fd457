//! `sealcalc`: how many sectors stage times and numbers of processors come to.

use super::say;
use crate::pipeline::{Bottleneck, Moment, Pipeline, Stage};
use damocles_daemon::{
    exit::{Exit, Fatal},
    table::{Table, terminal_width},
};
use damocles_types::SectorSize;
use serde_json::json;

/// How many sectors a machine seals, from stage times and how many run at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples, with the times that `damocles-worker worker timeline` shows:
  damocles-worker sealcalc --tree-d-mins 20 --tree-d-concurrent 1 --pc1-mins 240 --pc1-concurrent 7 \\
      --pc2-mins 25 --pc2-concurrent 1 --c2-mins 20 --c2-concurrent 1 --sealing-threads 10
  damocles-worker sealcalc … --calculate-days 7 --csv > week.csv

A cell is what runs, and in brackets what waits. All threads begin at once, and each begins its next
sector when it is done with one.")]
pub(super) struct Args {
    /// Minutes that tree-d takes
    #[arg(long, alias = "tree_d_mins", value_name = "MINUTES")]
    tree_d_mins: u64,
    /// Trees at once
    #[arg(long, alias = "tree_d_concurrent", value_name = "N")]
    tree_d_concurrent: u64,
    /// Minutes that PC1 takes
    #[arg(long, alias = "pc1_mins", value_name = "MINUTES")]
    pc1_mins: u64,
    /// PC1 at once
    #[arg(long, alias = "pc1_concurrent", value_name = "N")]
    pc1_concurrent: u64,
    /// Minutes that PC2 takes
    #[arg(long, alias = "pc2_mins", value_name = "MINUTES")]
    pc2_mins: u64,
    /// PC2 at once
    #[arg(long, alias = "pc2_concurrent", value_name = "N")]
    pc2_concurrent: u64,
    /// Minutes that C2 takes
    #[arg(long, alias = "c2_mins", value_name = "MINUTES")]
    c2_mins: u64,
    /// C2 at once
    #[arg(long, alias = "c2_concurrent", value_name = "N")]
    c2_concurrent: u64,
    /// Sealing threads
    #[arg(long, alias = "sealing_threads", value_name = "N")]
    sealing_threads: u64,
    /// Minutes from PC2 to the seed: the precommit's way into a block, and the chain's delay
    #[arg(
        long,
        alias = "seed_mins",
        value_name = "MINUTES",
        default_value_t = 80
    )]
    seed_mins: u64,
    /// Days to look ahead
    #[arg(
        long,
        alias = "calculate_days",
        value_name = "DAYS",
        default_value_t = 30
    )]
    calculate_days: u64,
    /// Minutes between two lines
    #[arg(
        long,
        aliases = ["output_step", "calculate_step_mins"],
        value_name = "MINUTES",
        default_value_t = 60
    )]
    output_step: u64,
    /// Size of the sectors, for the bytes in a day
    #[arg(long, value_name = "SIZE", default_value = "32GiB")]
    sector_size: SectorSize,
    /// Comma separated, with what runs and all that are there as `running/all`
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Nobody looks further ahead, or has more threads on a machine.
const MOST_DAYS: u64 = 3650;
const MOST_THREADS: u64 = 10_000;
/// Lines that are computed at most.
const MOST_LINES: u64 = 1_000_000;

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let pipeline = pipeline(args)?;
    let end = args.calculate_days * 24 * 60;
    let moments = pipeline.run(end, args.output_step);
    let text = if args.csv {
        csv(&pipeline, &moments)
    } else if args.json {
        serde_json::to_string_pretty(&as_json(&pipeline, &moments, args.sector_size))?
    } else {
        let table = table(&pipeline, &moments).render(terminal_width());
        let sum = summary(&pipeline, &moments, args.sector_size);
        format!("{table}\n{sum}")
    };
    say(text)
}

fn pipeline(args: &Args) -> Result<Pipeline, Fatal> {
    let wrong = |what: String| Err(Fatal::new(Exit::Usage, what));
    let stage = |name, minutes, concurrent| Stage {
        name,
        minutes,
        concurrent,
    };
    let stages = vec![
        stage("tree_d", args.tree_d_mins, Some(args.tree_d_concurrent)),
        stage("pc1", args.pc1_mins, Some(args.pc1_concurrent)),
        stage("pc2", args.pc2_mins, Some(args.pc2_concurrent)),
        stage("wait seed", args.seed_mins, None),
        stage("c2", args.c2_mins, Some(args.c2_concurrent)),
    ];
    if let Some(none) = stages.iter().find(|s| s.concurrent == Some(0)) {
        return wrong(format!(
            "no {} at once: nothing would ever be sealed",
            none.name
        ));
    }
    let pipeline = Pipeline {
        threads: args.sealing_threads,
        stages,
    };
    if pipeline.minutes() == 0 {
        return wrong("no stage takes any time; give minutes of one at least".to_owned());
    }
    for (name, value, most) in [
        ("--sealing-threads", args.sealing_threads, MOST_THREADS),
        ("--calculate-days", args.calculate_days, MOST_DAYS),
        ("--output-step", args.output_step, MOST_DAYS * 24 * 60),
    ] {
        if !(1..=most).contains(&value) {
            return wrong(format!("{name} is {value}; it may be 1 to {most}"));
        }
    }
    let lines = args.calculate_days * 24 * 60 / args.output_step;
    if lines > MOST_LINES {
        return wrong(format!(
            "that are {lines} lines; raise --output-step for {MOST_LINES} at most"
        ));
    }
    Ok(pipeline)
}

fn csv(pipeline: &Pipeline, moments: &[Moment]) -> String {
    let names: Vec<_> = pipeline.stages.iter().map(|stage| stage.name).collect();
    let mut out = format!(
        "time (mins),sealing threads,{},finished sectors",
        names.join(",")
    );
    for moment in moments {
        let running: u64 = moment.stages.iter().map(|crowd| crowd.running).sum();
        out.push_str(&format!(
            "\n{},{running}/{}",
            moment.minute, pipeline.threads
        ));
        for crowd in &moment.stages {
            out.push_str(&format!(",{}/{}", crowd.running, crowd.total()));
        }
        out.push_str(&format!(",{}", moment.finished));
    }
    out
}

fn table(pipeline: &Pipeline, moments: &[Moment]) -> Table {
    let mut headings = vec!["time"];
    headings.extend(pipeline.stages.iter().map(|stage| stage.name));
    headings.push("finished");
    let mut table = Table::new(&headings, &[]);
    for moment in moments {
        let (days, hours) = (moment.minute / 1440, moment.minute / 60 % 24);
        let mut row = vec![format!("{days}d {hours:02}:{:02}", moment.minute % 60)];
        row.extend(moment.stages.iter().map(|crowd| match crowd.waiting {
            0 => crowd.running.to_string(),
            waiting => format!("{} ({waiting})", crowd.running),
        }));
        row.push(moment.finished.to_string());
        table.add_row(row);
    }
    table
}

/// Bytes in a day, in TiB.
fn tib(per_day: f64, size: SectorSize) -> f64 {
    per_day * size.bytes() as f64 / (1_u64 << 40) as f64
}

fn summary(pipeline: &Pipeline, moments: &[Moment], size: SectorSize) -> String {
    let (per_day, bottleneck) = pipeline.per_day();
    let finished = moments.last().map_or(0, |m| m.finished);
    let more = match bottleneck {
        Bottleneck::Threads => "more sealing threads (and disk for them) would make it more",
        Bottleneck::Stage(name) => &format!(
            "{name} is what it waits for: more of it at once, or a faster one, would make it more"
        ),
    };
    format!(
        "a sector takes {} min if it waits for nothing; {finished} are finished in the time above\n\
         when all stages have filled: {per_day:.1} sectors a day, {:.2} TiB; {more}",
        pipeline.minutes(),
        tib(per_day, size),
    )
}

fn as_json(pipeline: &Pipeline, moments: &[Moment], size: SectorSize) -> serde_json::Value {
    let (per_day, bottleneck) = pipeline.per_day();
    let names: Vec<_> = pipeline.stages.iter().map(|stage| stage.name).collect();
    json!({
        "Stages": names,
        "SectorMinutes": pipeline.minutes(),
        "SectorsPerDay": per_day,
        "TiBPerDay": tib(per_day, size),
        "Bottleneck": match bottleneck {
            Bottleneck::Threads => "sealing threads",
            Bottleneck::Stage(name) => name,
        },
        "Moments": moments,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(more: &str) -> Args {
        let line = format!(
            "x --tree_d_mins 10 --tree-d-concurrent 1 --pc1-mins 60 --pc1-concurrent 2 --pc2-mins 10 \
             --pc2-concurrent 1 --c2-mins 20 --c2-concurrent 1 --sealing_threads 3 --seed-mins 20 \
             --calculate-days 1 --output_step 120 {more}"
        );
        Line::try_parse_from(line.split_whitespace()).unwrap().args
    }

    #[test]
    fn the_columns_are_upstreams() {
        let it = pipeline(&args("")).unwrap();
        let moments = it.run(240, 120);
        assert_eq!(
            csv(&it, &moments),
            "time (mins),sealing threads,tree_d,pc1,pc2,wait seed,c2,finished sectors\n\
             0,1/3,1/3,0/0,0/0,0/0,0/0,0\n\
             120,3/3,1/1,1/1,0/0,0/0,1/1,1\n\
             240,3/3,1/1,1/1,0/0,0/0,1/1,4"
        );
    }

    #[test]
    fn the_summary_names_the_bottleneck() {
        let it = pipeline(&args("")).unwrap();
        let moments = it.run(1440, 120);
        let text = summary(&it, &moments, SectorSize::GiB32);
        assert!(text.contains("36.0 sectors a day, 1.12 TiB"), "{text}");
        assert!(text.contains("more sealing threads"), "{text}");
        let json = as_json(&it, &moments, SectorSize::GiB32);
        assert_eq!(json["Bottleneck"], "sealing threads");
        assert_eq!(json["Moments"].as_array().unwrap().len(), 13);
        let mut slow = args("");
        slow.pc1_concurrent = 1;
        let slow = pipeline(&slow).unwrap();
        let text = summary(&slow, &slow.run(1440, 120), SectorSize::GiB32);
        assert!(
            text.contains("24.0 sectors a day") && text.contains("pc1 is what"),
            "{text}"
        );
        assert_eq!(table(&it, &moments).render(None).lines().count(), 14);
    }

    #[test]
    fn what_cannot_be_is_refused_in_a_sentence() {
        let refused = |change: fn(&mut Args)| {
            let mut args = args("");
            change(&mut args);
            pipeline(&args).unwrap_err().message
        };
        for (change, words) in [
            (
                (|a| a.pc1_concurrent = 0) as fn(&mut Args),
                "no pc1 at once",
            ),
            (|a| a.sealing_threads = 0, "--sealing-threads is 0"),
            (|a| a.calculate_days = 4000, "--calculate-days is 4000"),
            (|a| a.output_step = 0, "--output-step is 0"),
            (
                |a| (a.calculate_days, a.output_step) = (3650, 1),
                "raise --output-step",
            ),
        ] {
            let said = refused(change);
            assert!(said.contains(words), "{said}");
        }
    }
}
