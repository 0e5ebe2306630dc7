//! Medians over rounds, ratios, and tables.

/// One measured quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Column heading, with the unit.
    pub name: &'static str,
    pub decimals: usize,
    /// Whether Coterie's value divided by Redis' says anything.
    pub ratio: bool,
}

/// A metric that is compared.
pub const fn compared(name: &'static str, decimals: usize) -> Metric {
    Metric {
        name,
        decimals,
        ratio: true,
    }
}

/// A metric about the run, which is not compared.
pub const fn hint(name: &'static str, decimals: usize) -> Metric {
    Metric {
        name,
        decimals,
        ratio: false,
    }
}

/// CPU time used by neither server nor generator, in percent of one processor: how disturbed the
/// measurement was.
pub const OTHER_CPU: Metric = hint("other CPU %", 0);

/// One round of one contender: a value for each of the case's metrics.
pub type Sample = Vec<f64>;

/// What a case measured.
pub struct Outcome {
    pub case: String,
    pub description: String,
    pub metrics: &'static [Metric],
    /// The references first, the subject last; each with one sample a round.
    pub contenders: Vec<(String, Vec<Sample>)>,
}

pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Outcome {
    /// A table of this case alone, with the spread between rounds.
    pub fn table(&self) -> Table {
        let mut table = Table::new("server", self.metrics);
        for (label, samples) in &self.contenders {
            table.rows.push(self.row(label.clone(), &medians(samples)));
            if samples.len() > 1 {
                table.rows.push(self.spread_row(samples));
            }
        }
        for (label, ratios) in self.ratios() {
            table.rows.push(ratio_row(label, &ratios));
        }
        table
    }

    fn row(&self, label: String, values: &[f64]) -> Vec<String> {
        let cells = self.metrics.iter().zip(values);
        let cells = cells.map(|(metric, value)| number(*value, metric.decimals));
        std::iter::once(label).chain(cells).collect()
    }

    fn spread_row(&self, samples: &[Sample]) -> Vec<String> {
        let ends = (0..self.metrics.len()).map(|column| {
            let mut values = samples.iter().map(|sample| sample[column]);
            let first = values.next().unwrap_or(f64::NAN);
            values.fold((first, first), |(low, high), v| (low.min(v), high.max(v)))
        });
        let cells = ends.zip(self.metrics).map(|((low, high), metric)| {
            format!(
                "{}..{}",
                number(low, metric.decimals),
                number(high, metric.decimals)
            )
        });
        std::iter::once("  min..max".to_owned())
            .chain(cells)
            .collect()
    }

    /// For every reference: the subject's medians divided by its medians.
    fn ratios(&self) -> Vec<(String, Vec<Option<f64>>)> {
        let Some(((subject, samples), references)) = self.contenders.split_last() else {
            return Vec::new();
        };
        let ours = medians(samples);
        let one = |(label, samples): &(String, Vec<Sample>)| {
            let ratios = medians(samples)
                .iter()
                .zip(&ours)
                .zip(self.metrics)
                .map(|((theirs, ours), metric)| {
                    (metric.ratio && *theirs != 0.0).then_some(ours / theirs)
                })
                .collect();
            (format!("ratio {subject} / {label}"), ratios)
        };
        references.iter().map(one).collect()
    }
}

/// One table for each run of cases that measure the same, for a README.
pub fn combined(outcomes: &[Outcome]) -> Vec<Table> {
    let mut tables = Vec::new();
    for group in outcomes.chunk_by(|a, b| a.metrics == b.metrics) {
        let mut table = Table::new("server", group[0].metrics);
        table.header.insert(0, "case".into());
        for outcome in group {
            let medians = outcome
                .contenders
                .iter()
                .map(|(label, samples)| outcome.row(label.clone(), &medians(samples)));
            let ratios = outcome
                .ratios()
                .into_iter()
                .map(|(label, r)| ratio_row(label, &r));
            for (i, mut row) in medians.chain(ratios).enumerate() {
                let name = if i == 0 {
                    outcome.case.clone()
                } else {
                    String::new()
                };
                row.insert(0, name);
                table.rows.push(row);
            }
        }
        tables.push(table);
    }
    tables
}

fn ratio_row(label: String, ratios: &[Option<f64>]) -> Vec<String> {
    let cells = ratios
        .iter()
        .map(|r| r.map_or(String::new(), |r| format!("{r:.2}")));
    std::iter::once(label).chain(cells).collect()
}

fn medians(samples: &[Sample]) -> Vec<f64> {
    let columns = samples.first().map_or(0, Vec::len);
    (0..columns)
        .map(|column| median(samples.iter().map(|sample| sample[column]).collect()))
        .collect()
}

/// The middle value; of an even number, the mean of the middle two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        _ if values.is_empty() => f64::NAN,
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// A number with its thousands separated.
fn number(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (sign, text) = text
        .strip_prefix('-')
        .map_or(("", &*text), |rest| ("-", rest));
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::from(sign);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

impl Table {
    fn new(first: &str, metrics: &[Metric]) -> Self {
        let names = metrics.iter().map(|metric| metric.name.to_owned());
        Self {
            header: std::iter::once(first.to_owned()).chain(names).collect(),
            rows: Vec::new(),
        }
    }

    fn widths(&self) -> Vec<usize> {
        let all = || std::iter::once(&self.header).chain(&self.rows);
        (0..self.header.len())
            .map(|column| {
                all()
                    .map(|row| row[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect()
    }

    /// Aligned columns: text to the left, numbers to the right.
    pub fn to_text(&self) -> String {
        self.lines("", "  ", "")
    }

    /// A GitHub table, aligned in its source as well.
    pub fn to_markdown(&self) -> String {
        let lines = self.lines("| ", " | ", " |");
        let (header, rows) = lines.split_once('\n').unwrap_or((&lines, ""));
        let words = self.words();
        let rule = |(column, width): (usize, usize)| match column < words {
            true => "-".repeat(width.max(3)),
            false => "-".repeat(width.max(3) - 1) + ":",
        };
        let rule: Vec<String> = self.widths().into_iter().enumerate().map(rule).collect();
        format!("{header}\n| {} |\n{rows}", rule.join(" | "))
    }

    /// How many columns hold text: those up to and including `server`.
    fn words(&self) -> usize {
        self.header.iter().position(|h| h == "server").unwrap_or(0) + 1
    }

    fn lines(&self, start: &str, between: &str, end: &str) -> String {
        let widths = self.widths();
        let words = self.words();
        let mut text = String::new();
        for row in std::iter::once(&self.header).chain(&self.rows) {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &width))| match column < words {
                    true => format!("{cell:<width$}"),
                    false => format!("{cell:>width$}"),
                })
                .collect();
            text += &format!("{start}{}{end}\n", cells.join(between));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_numbers() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(number(1_234_567.891, 1), "1,234,567.9");
        assert_eq!(number(-999.0, 0), "-999");
        assert_eq!(number(-1000.0, 0), "-1,000");
    }

    #[test]
    fn ratios_are_subject_over_reference() {
        const METRICS: &[Metric] = &[compared("ops/s", 0), hint("other CPU %", 0)];
        let outcome = Outcome {
            case: "get".into(),
            description: String::new(),
            metrics: METRICS,
            contenders: vec![
                (
                    "Redis".into(),
                    vec![vec![100.0, 1.0], vec![300.0, 1.0], vec![200.0, 2.0]],
                ),
                ("Coterie".into(), vec![vec![500.0, 1.0]]),
            ],
        };
        let markdown = combined(&[outcome])[0].to_markdown();
        let lines: Vec<&str> = markdown.lines().collect();
        assert_eq!(lines.len(), 5, "{markdown}");
        assert!(lines[1].ends_with("-: |"), "{markdown}");
        let ratio: Vec<&str> = lines[4].split('|').map(str::trim).collect();
        assert_eq!(ratio[1..5], ["", "ratio Coterie / Redis", "2.50", ""]);
    }
}
