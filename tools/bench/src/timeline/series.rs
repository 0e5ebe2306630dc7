//! Answers of clients put into steps of time, and the table of them.

use std::{fmt::Write, time::Duration};

use crate::timeline::clients::Answer;

/// Length of a step.
pub const STEP: Duration = Duration::from_millis(100);

/// What came in one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    pub operations: u64,
    pub errors: u64,
    /// Latencies of those without an error; zero if there were none.
    pub p50: Duration,
    pub p99: Duration,
    /// The longest wait, be it for an error.
    pub max: Duration,
}

/// When what happened to the node, since the beginning.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marks {
    pub killed: Duration,
    /// The process was started again.
    pub started: Duration,
    /// It answered a client's request; nothing if it never did.
    pub served: Option<Duration>,
}

/// The whole run.
pub struct Timeline {
    pub marks: Marks,
    /// The clients of nodes that lived on.
    pub living: Vec<Step>,
    /// The clients of the one that was killed.
    pub killed: Vec<Step>,
}

impl Timeline {
    pub fn new(
        living: Vec<Answer>,
        killed: Vec<Answer>,
        mut marks: Marks,
        length: Duration,
    ) -> Self {
        let served = killed.iter().filter(|it| !it.is_error).map(|it| it.at);
        marks.served = served.filter(|at| *at >= marks.started).min();
        Self {
            marks,
            living: steps(living, length),
            killed: steps(killed, length),
        }
    }

    /// The steps of living nodes' clients that lie in a range of time.
    pub fn living_between(&self, from: Duration, to: Duration) -> &[Step] {
        let index = |at: Duration| (at.as_nanos() / STEP.as_nanos()) as usize;
        let to = index(to).min(self.living.len());
        &self.living[index(from).min(to)..to]
    }

    /// A line for each step.
    pub fn csv(&self) -> String {
        let mut text = String::from(
            "seconds,living_operations,living_errors,living_p50_ms,living_p99_ms,living_max_ms,\
             killed_operations,killed_errors\n",
        );
        for (i, (living, killed)) in self.living.iter().zip(&self.killed).enumerate() {
            let seconds = (STEP * i as u32).as_secs_f64();
            let [p50, p99, max] = [living.p50, living.p99, living.max].map(milliseconds);
            let _infallible = writeln!(
                text,
                "{seconds:.1},{},{},{p50:.3},{p99:.3},{max:.3},{},{}",
                living.operations, living.errors, killed.operations, killed.errors
            );
        }
        text
    }
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Sorts answers into steps. What came after the end belongs to the last step.
fn steps(mut answers: Vec<Answer>, length: Duration) -> Vec<Step> {
    let count = length.as_nanos().div_ceil(STEP.as_nanos()).max(1) as usize;
    let index =
        |answer: &Answer| ((answer.at.as_nanos() / STEP.as_nanos()) as usize).min(count - 1);
    answers.sort_unstable_by_key(|answer| answer.at);
    let mut steps = vec![Step::default(); count];
    for chunk in answers.chunk_by(|a, b| index(a) == index(b)) {
        steps[index(&chunk[0])] = Step::of(chunk);
    }
    steps
}

impl Step {
    fn of(answers: &[Answer]) -> Self {
        let good = answers.iter().filter(|answer| !answer.is_error);
        let mut latencies: Vec<Duration> = good.map(|answer| answer.latency).collect();
        latencies.sort_unstable();
        let longest = answers.iter().map(|answer| answer.latency).max();
        // The smallest value that at least this share of all does not exceed.
        let at = |percent: usize| {
            let rank = (latencies.len() * percent).div_ceil(100);
            latencies.get(rank.saturating_sub(1)).copied()
        };
        Self {
            operations: latencies.len() as u64,
            errors: (answers.len() - latencies.len()) as u64,
            p50: at(50).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
            max: longest.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(at: u64, latency: u64, is_error: bool) -> Answer {
        Answer {
            at: Duration::from_millis(at),
            latency: Duration::from_millis(latency),
            is_error,
        }
    }

    #[test]
    fn answers_fall_into_their_steps() {
        let mut answers: Vec<Answer> = (1..=100).map(|n| answer(100 + n / 2, n, false)).collect();
        answers.push(answer(99, 7, false));
        answers.push(answer(120, 1, true));
        answers.push(answer(5000, 40, false));
        let steps = steps(answers, Duration::from_millis(250));
        assert_eq!(steps.len(), 3);
        assert_eq!((steps[0].operations, steps[0].errors), (1, 0));
        assert_eq!((steps[1].operations, steps[1].errors), (100, 1));
        assert_eq!(steps[1].p50, Duration::from_millis(50));
        assert_eq!(steps[1].p99, Duration::from_millis(99));
        assert_eq!(steps[1].max, Duration::from_millis(100));
        assert_eq!(steps[2].max, Duration::from_millis(40));
    }

    #[test]
    fn the_first_good_answer_after_the_start_is_the_return() {
        let marks = Marks {
            killed: Duration::from_millis(100),
            started: Duration::from_millis(200),
            served: None,
        };
        let killed = vec![
            answer(50, 1, false),
            answer(150, 1, true),
            answer(250, 1, true),
            answer(260, 1, false),
            answer(270, 1, false),
        ];
        let timeline = Timeline::new(Vec::new(), killed, marks, Duration::from_millis(300));
        assert_eq!(timeline.marks.served, Some(Duration::from_millis(260)));
        assert_eq!(
            timeline.living_between(marks.killed, marks.started).len(),
            1
        );
        let csv = timeline.csv();
        assert_eq!(csv.lines().count(), 4, "{csv}");
        assert!(csv.ends_with("0.2,0,0,0.000,0.000,0.000,2,1\n"), "{csv}");
    }
}
