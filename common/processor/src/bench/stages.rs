//! Tasks for the stages' own functions, in this process.

use crate::{
    serve::{Handler, Progress},
    task::Task,
};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use std::{collections::VecDeque, sync::Arc, thread};

pub(super) fn task<T: Task>(task: &T) -> anyhow::Result<Box<RawValue>> {
    Ok(serde_json::value::to_raw_value(task)?)
}

pub(super) struct Answer {
    pub(super) output: Box<RawValue>,
    pub(super) kernel: String,
}

/// Does all tasks, `at_once` at a time, and answers in their order.
pub(super) fn all(
    handler: &Arc<Handler>,
    tasks: Vec<Box<RawValue>>,
    at_once: usize,
) -> anyhow::Result<Vec<Answer>> {
    let count = tasks.len();
    let waiting: Mutex<VecDeque<_>> = Mutex::new(tasks.into_iter().enumerate().collect());
    let answers = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..at_once.clamp(1, count.max(1)) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().pop_front();
                    let Some((number, task)) = next else { return };
                    let progress = Progress::silent();
                    let output = handler(&task, &progress);
                    let kernel = progress.computed_by().unwrap_or_default();
                    answers
                        .lock()
                        .push((number, output.map(|output| Answer { output, kernel })));
                }
            });
        }
    });
    let mut answers = answers.into_inner();
    answers.sort_by_key(|(number, _)| *number);
    let answers: Result<Vec<Answer>, _> = answers.into_iter().map(|(_, answer)| answer).collect();
    let answers = answers?;
    anyhow::ensure!(answers.len() == count, "a stage panicked");
    Ok(answers)
}
