//! `worker top`: a running worker on one screen that follows it: threads, processors, disks.

use super::say;
use damocles_api::{
    show,
    worker::{DiskInfo, StageInfo, ThreadInfo, ThreadState, WorkerClient},
};
use damocles_daemon::table::{Table, terminal_size};
use damocles_types::ByteSize;
use jsonrpsee::{core::ClientError, http_client::HttpClient};
use serde::Serialize;
use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show it once and end; with --json, or where the output is no terminal, in any case
    #[arg(long)]
    once: bool,
    /// Between two looks
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    let least = Duration::from_millis(100);
    match time < least {
        true => Err("a worker is not asked more often than every 100ms".to_owned()),
        false => Ok(time),
    }
}

/// A worker at a moment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Picture {
    version: String,
    threads: Vec<ThreadInfo>,
    processors: Vec<StageInfo>,
    disks: Vec<DiskInfo>,
}

impl Picture {
    async fn look(client: &HttpClient) -> Result<Self, ClientError> {
        Ok(Self {
            version: client.worker_version().await?,
            threads: client.worker_list().await?,
            processors: client.worker_processors().await?,
            disks: client.worker_disks().await?,
        })
    }

    /// As text, in lines of that width.
    fn draw(&self, host: &str, width: Option<usize>) -> String {
        let mut text = format!(
            "damocles-worker {} at {host}\n{}\n",
            self.version,
            self.sum()
        );
        let mut threads = Table::new(&show::THREADS, &["location", "doing", "problem"]);
        for thread in &self.threads {
            threads.add_row(show::thread(thread));
        }
        text.push_str(&format!("\n{}", threads.render(width)));
        if !self.processors.is_empty() {
            let mut children = Table::new(&show::CHILDREN, &["problem"]);
            for row in self.processors.iter().flat_map(show::children) {
                children.add_row(row);
            }
            text.push_str(&format!("\n{}", children.render(width)));
        }
        if !self.disks.is_empty() {
            let headings = ["store", "kind", "path", "sector", "free", "size", "problem"];
            let mut disks = Table::new(&headings, &["path", "problem"]);
            for disk in &self.disks {
                disks.add_row(disk_row(disk));
            }
            text.push_str(&format!("\n{}", disks.render(width)));
        }
        text.trim_end().to_owned()
    }

    /// The threads in one line.
    fn sum(&self) -> String {
        let count = |of: fn(&ThreadInfo) -> bool| self.threads.iter().filter(|t| of(t)).count();
        let running = count(|t| matches!(t.thread_state, ThreadState::Running { .. }));
        let waiting = count(|t| matches!(t.thread_state, ThreadState::Waiting { .. }));
        let paused = count(|t| matches!(t.thread_state, ThreadState::Paused { .. }));
        let wrong = count(|t| t.last_error.is_some());
        // one without a sector says so as what it waits for
        let drains = count(|t| {
            let idles = t.waiting_for.as_deref().unwrap_or_default();
            t.draining.is_some() || idles.starts_with("draining")
        });
        let drains = match drains {
            0 => "",
            _ => "; draining",
        };
        format!(
            "{} sealing threads: {running} running, {waiting} waiting, {paused} paused; {wrong} with a problem{drains}",
            self.threads.len()
        )
    }
}

fn disk_row(disk: &DiskInfo) -> [String; 7] {
    let bytes = |bytes: Option<u64>| {
        bytes.map_or_else(|| show::NOTHING.to_owned(), |b| ByteSize(b).to_string())
    };
    let there = disk.problem.is_none();
    [
        disk.name.clone(),
        disk.kind.clone(),
        disk.path.clone(),
        bytes(disk.used),
        bytes(there.then_some(disk.free)),
        bytes(there.then_some(disk.total)),
        disk.problem
            .clone()
            .unwrap_or_else(|| show::NOTHING.to_owned()),
    ]
}

/// Shows it, again and again until Ctrl-C.
///
/// # Errors
/// The first look failed. Later ones are told on the screen: a worker may be started anew.
pub(super) async fn run(
    client: &HttpClient,
    host: &str,
    args: &Args,
    json: bool,
) -> Result<anyhow::Result<()>, ClientError> {
    let mut picture = Picture::look(client).await?;
    if json {
        let text = serde_json::to_string_pretty(&picture);
        return Ok(text.map_err(Into::into).and_then(say));
    }
    if args.once || !io::stdout().is_terminal() {
        let width = terminal_size().map(|(width, _)| width);
        return Ok(say(picture.draw(host, width)));
    }
    Ok(follow(client, host, args.interval, &mut picture).await)
}

async fn follow(
    client: &HttpClient,
    host: &str,
    interval: Duration,
    picture: &mut Picture,
) -> anyhow::Result<()> {
    let _screen = Screen::enter()?;
    let mut note = String::new();
    loop {
        let size = terminal_size();
        let mut text = picture.draw(host, size.map(|(width, _)| width));
        if !note.is_empty() {
            text = format!("{note}\n{text}");
        }
        Screen::show(&frame(&text, size.map_or(usize::MAX, |(_, height)| height)))?;
        tokio::select! {
            end = tokio::signal::ctrl_c() => return Ok(end?),
            () = tokio::time::sleep(interval) => {}
        }
        match Picture::look(client).await {
            Ok(now) => {
                *picture = now;
                note.clear();
            }
            Err(error) => note = format!("no answer now, what is below is old: {error}"),
        }
    }
}

/// What is written over the frame before: no line scrolls the screen, and nothing stays of what was
/// longer.
fn frame(text: &str, height: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let cut = lines.len() > height;
    let room = height.saturating_sub(usize::from(cut));
    let mut out = String::from("\x1b[H");
    for (i, line) in lines.iter().take(room).enumerate() {
        if i > 0 {
            out.push_str("\r\n");
        }
        out.push_str(line);
        out.push_str("\x1b[K");
    }
    if cut {
        let more = lines.len() - room;
        out.push_str(&format!(
            "\r\n… {more} more lines; `--once` shows all\x1b[K"
        ));
    }
    out.push_str("\x1b[J");
    out
}

/// The terminal's other screen, without a cursor; left again however it ends.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Self> {
        Self::show("\x1b[?1049h\x1b[?25l")?;
        Ok(Self)
    }

    fn show(text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = Self::show("\x1b[?25h\x1b[?1049l");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_api::worker::{ChildInfo, Draining};

    fn picture() -> Picture {
        let thread = ThreadInfo {
            location: "/nvme/0".into(),
            plan: "sealer".into(),
            job_id: Some("s-t01000-7".into()),
            index: 0,
            thread_state: ThreadState::Waiting { elapsed: 65 },
            job_state: "PC1Done".into(),
            job_stage: Some("PC2".into()),
            last_error: None,
            waiting_for: Some("the lock gpu:0".into()),
            hint: None,
            pause_asked: false,
            progress: None,
            draining: Some(Draining {
                fate: "goes on to PC2Done".into(),
                stands: false,
            }),
        };
        let child = ChildInfo {
            name: "pc2-0".into(),
            phase: "down".into(),
            pid: None,
            reason: Some("killed by signal 9".into()),
            restarts: 3,
            dump: None,
        };
        let disk = |name: &str, problem: Option<&str>| DiskInfo {
            kind: "sealing".into(),
            name: name.into(),
            path: name.into(),
            total: 2 << 40,
            free: 1 << 40,
            used: Some(516 << 30),
            problem: problem.map(ToOwned::to_owned),
        };
        Picture {
            version: "1".into(),
            threads: vec![thread],
            processors: vec![StageInfo {
                stage: "pc2".into(),
                waiting: 1,
                running: 0,
                children: vec![child],
            }],
            disks: vec![disk("/nvme/0", None), disk("/nvme/1", Some("it hangs"))],
        }
    }

    #[test]
    fn everything_is_on_one_page() {
        let text = picture().draw("h:1", None);
        for words in [
            "damocles-worker 1 at h:1",
            "1 sealing threads: 0 running, 1 waiting, 0 paused; 0 with a problem; draining",
            "waiting: the lock gpu:0; draining: goes on to PC2Done",
            "pc2-0  down   —    3         killed by signal 9",
            "516GiB  1TiB  2TiB",
            "it hangs",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
        let narrow = picture().draw("h:1", Some(60));
        assert!(narrow.len() < text.len());
    }

    #[test]
    fn a_frame_fits_the_screen_and_leaves_nothing_of_the_one_before() {
        assert_eq!(frame("a\nb", 5), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
        let cut = frame("a\nb\nc\nd", 3);
        assert!(
            cut.starts_with("\x1b[Ha\x1b[K\r\nb\x1b[K\r\n… 2 more lines"),
            "{cut:?}"
        );
        assert_eq!(cut.matches("\r\n").count(), 2);
    }

    #[test]
    fn a_worker_is_not_besieged() {
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert!(interval("1ms").is_err() && interval("soon").is_err());
    }
}
