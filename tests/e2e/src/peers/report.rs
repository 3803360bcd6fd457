//! What came of a run beside foreign programs: steps as they happen, a table at the end, and
//! `report.json` for whoever compares.

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde::Serialize;
use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// One thing that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub name: String,
    pub ok: bool,
    pub seconds: f64,
    /// What was seen; of a step that failed, why.
    pub detail: String,
}

/// Steps of one run, told as they end.
#[derive(Debug, Default, Serialize)]
pub struct Steps {
    #[serde(rename = "steps")]
    done: Vec<Step>,
}

impl Steps {
    /// Does one step and writes down what came of it. The error is given back for those who cannot
    /// go on without it.
    pub async fn take<T>(
        &mut self,
        name: &str,
        limit: Duration,
        step: impl Future<Output = Result<(T, String)>>,
    ) -> Result<T> {
        let begin = Instant::now();
        eprintln!("{name} …");
        let result = match tokio::time::timeout(limit, step).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("not over after {} s", limit.as_secs())),
        };
        let seconds = (begin.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let (result, detail) = match result {
            Ok((value, detail)) => (Ok(value), detail),
            Err(error) => {
                let why = format!("{error:#}");
                (Err(error), why)
            }
        };
        let ok = result.is_ok();
        let word = if ok { "ok" } else { "FAILED" };
        eprintln!("{name}: {word}, {seconds} s: {detail}");
        self.done.push(Step {
            name: name.to_owned(),
            ok,
            seconds,
            detail,
        });
        result
    }

    pub fn done(&self) -> &[Step] {
        &self.done
    }

    /// Names of those that failed.
    pub fn failed(&self) -> Vec<&str> {
        let failed = self.done.iter().filter(|step| !step.ok);
        failed.map(|step| step.name.as_str()).collect()
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table
            .load_preset(presets::ASCII_MARKDOWN)
            .set_header(["step", "", "s", "what was seen"]);
        for step in &self.done {
            let word = if step.ok { "ok" } else { "FAILED" };
            let seconds = step.seconds.to_string();
            table.add_row([&step.name, word, &seconds, &step.detail]);
        }
        table.to_string()
    }
}

/// Writes a report as JSON.
pub fn write(path: &Path, report: &impl Serialize) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    }
    let mut text = serde_json::to_string_pretty(report)?;
    writeln!(text)?;
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn steps_are_told_with_what_came_of_them() {
        let mut steps = Steps::default();
        let long = Duration::from_secs(60);
        let told = steps
            .take("one", long, async { Ok((7, "seen".to_owned())) })
            .await;
        assert_eq!(told.unwrap(), 7);
        let refused = async { anyhow::bail!("no") };
        let told: Result<()> = steps.take("two", long, refused).await;
        assert!(told.is_err());
        let slow = std::future::pending::<Result<((), String)>>();
        let told = steps.take("three", Duration::ZERO, slow).await;
        assert!(told.is_err());
        assert_eq!(steps.failed(), ["two", "three"]);
        assert_eq!(steps.done()[0].detail, "seen");
        assert_eq!(steps.done()[1].detail, "no");
        let table = steps.table();
        assert!(
            table.contains("FAILED") && table.contains("not over"),
            "{table}"
        );
    }
}
