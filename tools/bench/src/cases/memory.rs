//! Memory per key.

use crate::{
    cases::{Case, Entry, Settings, fill, labels},
    error::Result,
    proc::resident,
    report::{Metric, Sample, compared},
    server::{Contender, Durability},
};

const METRICS: &[Metric] = &[
    compared("RSS bytes/key", 1),
    compared("anonymous RSS bytes/key", 1),
    compared("RSS empty MiB", 1),
];
const VALUE: usize = 32;

pub fn entries() -> Vec<Entry> {
    let description = format!(
        "growth of resident memory by 16-byte keys with {VALUE}-byte values, divided by their number"
    );
    vec![Entry::new("memory", description, |settings| Memory {
        contenders: settings.contenders(&[Durability::None], Durability::Everysec),
    })]
}

struct Memory {
    contenders: Vec<Contender>,
}

impl Case for Memory {
    fn metrics(&self) -> &'static [Metric] {
        METRICS
    }

    fn labels(&self) -> Vec<String> {
        labels(&self.contenders)
    }

    fn measure(&mut self, settings: &Settings, contender: usize) -> Result<Sample> {
        let server = settings.launcher.start(self.contenders[contender])?;
        let before = resident(server.pid());
        fill(&server, settings.many_keys, VALUE)?;
        let after = resident(server.pid());
        let per_key = |after: u64, before: u64| {
            after.saturating_sub(before) as f64 / settings.many_keys as f64
        };
        Ok(vec![
            per_key(after.total, before.total),
            per_key(after.anonymous, before.anonymous),
            before.total as f64 / f64::from(1 << 20),
        ])
    }
}
