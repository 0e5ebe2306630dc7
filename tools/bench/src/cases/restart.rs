//! Time from the start of a killed server to its first answer.

use crate::{
    cases::{Case, Entry, Settings, expect_keys, fill, labels},
    error::{Error, Result},
    proc::process_cpu,
    report::{Metric, Sample, compared},
    server::{Contender, Durability, Product, Server},
    workload::key_name,
};

const METRICS: &[Metric] = &[
    compared("restart s", 3),
    compared("restart CPU s", 2),
    compared("on disk MiB", 1),
];
const VALUE: usize = 32;

pub fn entries() -> Vec<Entry> {
    let entry = |name, compact, what: &str| {
        let description = format!(
            "kill -9 and start with 16-byte keys and {VALUE}-byte values, until a GET of the last key is answered; {what}"
        );
        Entry::new(name, description, move |settings: &Settings| Restart {
            contenders: settings.contenders(&[Durability::Everysec], Durability::Everysec),
            compact,
        })
    };
    vec![
        entry("restart-log", false, "from the log of the writes"),
        entry(
            "restart-checkpoint",
            true,
            "from a checkpoint (Coterie: after SAVE; Redis: after BGREWRITEAOF)",
        ),
    ]
}

struct Restart {
    contenders: Vec<Contender>,
    compact: bool,
}

impl Case for Restart {
    fn metrics(&self) -> &'static [Metric] {
        METRICS
    }

    fn labels(&self) -> Vec<String> {
        labels(&self.contenders)
    }

    fn measure(&mut self, settings: &Settings, contender: usize) -> Result<Sample> {
        let contender = self.contenders[contender];
        let mut server = settings.launcher.start(contender)?;
        fill(&server, settings.many_keys, VALUE)?;
        if self.compact {
            compact(&server, contender.product)?;
        }
        let on_disk = server.disk_bytes();
        let wall = settings.launcher.restart_after_kill(&mut server)?;
        let cpu = process_cpu(server.pid());
        let last = key_name(settings.many_keys - 1);
        let found = server.control()?.get_len(&last)?;
        if found != VALUE {
            return Err(Error::WrongReply(format!(
                "the last key holds {found} bytes"
            )));
        }
        expect_keys(&server, settings.many_keys)?;
        Ok(vec![
            wall.as_secs_f64(),
            cpu.as_secs_f64(),
            on_disk as f64 / f64::from(1 << 20),
        ])
    }
}

/// Has the server write its data set as a whole, so that it need not replay the log.
fn compact(server: &Server, product: Product) -> Result<()> {
    let mut control = server.control()?;
    match product {
        // With its append-only file on, Redis reads nothing else: a SAVE would not be used.
        Product::Redis => control.rewrite_append_only_file(),
        Product::Coterie => control.status(&[b"SAVE"]),
    }
}
