//! The timeline as a picture: throughput, errors and latency one above the other, in SVG that is
//! legible on a light and on a dark page.

use std::{fmt::Write, time::Duration};

use crate::timeline::series::{STEP, Step, Timeline, milliseconds};

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 560.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 900.0;
const RATE: Panel = Panel::at(84.0, 140.0);
const ERRORS: Panel = Panel::at(270.0, 60.0);
const LATENCY: Panel = Panel::at(376.0, 140.0);
/// The goal: no client of a living node waits for longer.
const GOAL_MS: f64 = 100.0;

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#1f2328}\
.title{font-weight:600;font-size:13px}\
.page{fill:#fff}.grid{stroke:#d1d9e0;stroke-width:1}.axis{stroke:#59636e;stroke-width:1}\
.mark{stroke:#59636e;stroke-width:1;stroke-dasharray:4 3}\
.living{stroke:#0969da;fill:none;stroke-width:1.6}.shade{fill:#0969da;fill-opacity:.12}\
.killed{stroke:#bc4c00;fill:none;stroke-width:1.6}\
.max{stroke:#8250df;fill:none;stroke-width:1.2}.goal{stroke:#cf222e;fill:none;stroke-width:1;stroke-dasharray:2 3}\
.bad{fill:#cf222e}.other{fill:#bc4c00;fill-opacity:.6}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.page{fill:#0d1117}.grid{stroke:#30363d}\
.axis,.mark{stroke:#9198a1}.living{stroke:#58a6ff}.shade{fill:#58a6ff}.killed{stroke:#f0883e}\
.max{stroke:#bc8cff}.goal{stroke:#ff7b72}.bad{fill:#ff7b72}.other{fill:#f0883e}}";

/// A part of the picture with an axis of its own.
struct Panel {
    top: f64,
    height: f64,
}

impl Panel {
    const fn at(top: f64, height: f64) -> Self {
        Self { top, height }
    }

    fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// The height at which a share of the full scale is, 0 to 1.
    fn y(&self, share: f64) -> f64 {
        self.bottom() - self.height * share.clamp(0.0, 1.0)
    }
}

struct Picture<'a> {
    timeline: &'a Timeline,
    length: Duration,
    out: String,
}

/// Draws the picture; the title says what was run.
pub fn svg(timeline: &Timeline, title: &str) -> String {
    let length = STEP * timeline.living.len() as u32;
    let mut picture = Picture {
        timeline,
        length,
        out: String::new(),
    };
    picture.open(title);
    picture.rates();
    picture.errors();
    picture.latencies();
    picture.marks();
    picture.out + "</svg>\n"
}

impl Picture<'_> {
    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        let _infallible = self.out.write_fmt(element);
        self.out.push('\n');
    }

    fn x(&self, at: Duration) -> f64 {
        LEFT + (RIGHT - LEFT) * (at.as_secs_f64() / self.length.as_secs_f64()).clamp(0.0, 1.0)
    }

    /// The middle of a step.
    fn x_of(&self, step: usize) -> f64 {
        self.x(STEP * step as u32 + STEP / 2)
    }

    fn open(&mut self, title: &str) {
        self.push(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" role=\"img\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\"/>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"22\">{0}</text>",
            escaped(title)
        ));
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = escaped(text);
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    /// A panel's grid and axis. Each tick is a share of the full scale and its label.
    fn scales(&mut self, panel: &Panel, ticks: &[(f64, String)]) {
        for (share, label) in ticks {
            let y = panel.y(*share);
            self.line("grid", (LEFT, y), (RIGHT, y));
            self.text(LEFT - 8.0, y + 4.0, "end", label);
        }
        let bottom = panel.bottom();
        self.line("axis", (LEFT, bottom), (RIGHT, bottom));
    }

    /// A panel's heading and the key to its lines and bars: class and words.
    fn legend(&mut self, panel: &Panel, entries: &[(&str, &str)]) {
        /// Roughly the width of a letter.
        const LETTER: f64 = 6.3;
        let (mut x, y) = (LEFT, panel.top - 10.0);
        for (class, words) in entries {
            let shape = match *class {
                "" => "",
                "bad" | "other" => "h18v6h-18z",
                _ => "m0 3h18",
            };
            if !shape.is_empty() {
                let top = y - 7.0;
                self.push(format_args!(
                    "<path class=\"{class}\" d=\"M{x:.1} {top:.1}{shape}\"/>"
                ));
                x += 24.0;
            }
            self.text(x, y, "start", words);
            x += words.chars().count() as f64 * LETTER + 18.0;
        }
    }

    fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        let mut data = String::new();
        for (i, (x, y)) in points.iter().enumerate() {
            let letter = if i == 0 { 'M' } else { 'L' };
            let _infallible = write!(data, "{letter}{x:.1} {y:.1}");
        }
        self.push(format_args!("<path class=\"{class}\" d=\"{data}\"/>"));
    }

    fn rates(&mut self) {
        let per_second = |step: &Step| step.operations as f64 / STEP.as_secs_f64();
        let (living, killed) = (&self.timeline.living, &self.timeline.killed);
        let most = living
            .iter()
            .chain(killed)
            .map(per_second)
            .fold(1.0, f64::max);
        let (full, ticks) = linear(most);
        let points = |steps: &[Step]| -> Vec<(f64, f64)> {
            let point = |(i, step)| (self.x_of(i), RATE.y(per_second(step) / full));
            steps.iter().enumerate().map(point).collect()
        };
        let (living, killed) = (points(living), points(killed));
        let mut area = living.clone();
        area.extend(living.last().map(|(x, _)| (*x, RATE.bottom())));
        area.extend(living.first().map(|(x, _)| (*x, RATE.bottom())));
        self.scales(&RATE, &ticks);
        self.path("shade", &area);
        self.path("killed", &killed);
        self.path("living", &living);
        let words = [
            ("", "operations per second:"),
            ("living", "clients of the two living nodes"),
            ("killed", "clients of the killed node"),
        ];
        self.legend(&RATE, &words);
    }

    fn errors(&mut self) {
        let errors = |steps: &[Step]| -> Vec<u64> { steps.iter().map(|it| it.errors).collect() };
        let (living, killed) = (errors(&self.timeline.living), errors(&self.timeline.killed));
        let most = living.iter().chain(&killed).copied().max().unwrap_or(0);
        let (full, ticks) = linear((most as f64).max(1.0));
        self.scales(&ERRORS, &ticks);
        let half = (self.x_of(1) - self.x_of(0)) / 2.0;
        for (class, counts) in [("other", &killed), ("bad", &living)] {
            for (i, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let (x, y) = (self.x_of(i), ERRORS.y(*count as f64 / full));
                self.push(format_args!(
                    "<rect class=\"{class}\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                    x - half,
                    half * 2.0,
                    ERRORS.bottom() - y
                ));
            }
        }
        let [living, killed] = [living, killed].map(|counts| counts.iter().sum::<u64>());
        let (ours, others) = (
            format!("living nodes (sum {living})"),
            format!("killed node (sum {killed})"),
        );
        let words = [
            ("", "errors per 0.1 s:"),
            ("bad", &*ours),
            ("other", &*others),
        ];
        self.legend(&ERRORS, &words);
    }

    fn latencies(&mut self) {
        let all = self.timeline.living.iter();
        let most = all
            .map(|step| milliseconds(step.max))
            .fold(GOAL_MS, f64::max);
        let scale = Decades::up_to(most);
        self.scales(&LATENCY, &scale.ticks());
        let points = |of: fn(&Step) -> Duration| -> Vec<(f64, f64)> {
            let point = |(i, step)| (self.x_of(i), LATENCY.y(scale.share(milliseconds(of(step)))));
            self.timeline.living.iter().enumerate().map(point).collect()
        };
        let (max, p99) = (points(|step| step.max), points(|step| step.p99));
        let goal = LATENCY.y(scale.share(GOAL_MS));
        self.line("goal", (LEFT, goal), (RIGHT, goal));
        self.path("max", &max);
        self.path("living", &p99);
        let words = [
            ("", "latency on the living nodes, ms:"),
            ("living", "p99"),
            ("max", "longest"),
            ("goal", "goal: 100 ms at most"),
        ];
        self.legend(&LATENCY, &words);
    }

    /// What happened when, through all panels, and the axis of time.
    fn marks(&mut self) {
        let marks = self.timeline.marks;
        let mut events = vec![(marks.killed, "kill -9"), (marks.started, "started again")];
        events.extend(marks.served.map(|at| (at, "answers")));
        let mut free_from = LEFT;
        for (at, words) in events {
            let x = self.x(at);
            self.line("mark", (x, 38.0), (x, 50.0));
            for panel in [RATE, ERRORS, LATENCY] {
                self.line("mark", (x, panel.top), (x, panel.bottom()));
            }
            // Beside the line, and beside the words before.
            let at = (x + 4.0).max(free_from);
            self.text(at, 47.0, "start", words);
            free_from = at + words.len() as f64 * 6.5 + 8.0;
        }
        let (step, _) = nice(self.length.as_secs_f64() / 8.0);
        let mut second = 0.0;
        while second <= self.length.as_secs_f64() + 1e-9 {
            let x = self.x(Duration::from_secs_f64(second));
            self.text(x, LATENCY.bottom() + 18.0, "middle", &plain(second));
            second += step;
        }
        let middle = (LEFT + RIGHT) / 2.0;
        self.text(middle, LATENCY.bottom() + 38.0, "middle", "seconds");
    }
}

/// The next larger of 1, 2 and 5 times a power of ten, and how many of its steps make ten.
fn nice(value: f64) -> (f64, f64) {
    let power = 10f64.powf(value.max(f64::MIN_POSITIVE).log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|f| f * power >= value * 0.999);
    (factor.unwrap_or(10.0) * power, power)
}

/// A full scale for values up to `most`, and its ticks from zero up.
fn linear(most: f64) -> (f64, Vec<(f64, String)>) {
    const TICKS: f64 = 3.0;
    let (step, _) = nice(most / TICKS);
    let step = step.max(1.0);
    let count = (most / step).ceil().max(1.0);
    let ticks = (0..=count as u32).map(|i| {
        let value = f64::from(i) * step;
        (value / (count * step), plain(value))
    });
    (count * step, ticks.collect())
}

/// A logarithmic scale of milliseconds from 0.1 up.
struct Decades {
    count: i32,
}

impl Decades {
    fn up_to(most: f64) -> Self {
        let count = (most.max(1.0).log10() - 1e-9).ceil() as i32 + 1;
        Self { count }
    }

    fn share(&self, value: f64) -> f64 {
        (value.max(0.1).log10() + 1.0) / f64::from(self.count)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let tick = |i| {
            (
                f64::from(i) / f64::from(self.count),
                plain(10f64.powi(i - 1)),
            )
        };
        (0..=self.count).map(tick).collect()
    }
}

/// A number without needless digits, its thousands separated by a narrow space.
fn plain(value: f64) -> String {
    if value.fract().abs() > 1e-9 && value < 1000.0 {
        let text = format!("{value:.2}");
        return text.trim_end_matches('0').to_owned();
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::series::Marks;

    #[test]
    fn scales_hold_their_values() {
        for most in [1.0, 3.0, 7.0, 42.0, 5999.0, 6001.0] {
            let (full, ticks) = linear(most);
            assert!(full >= most && full < most * 2.5 + 2.0, "{most}: {full}");
            assert!((2..=6).contains(&ticks.len()), "{most}: {ticks:?}");
        }
        let scale = Decades::up_to(100.0);
        assert_eq!(scale.share(0.1), 0.0);
        assert_eq!(scale.share(100.0), 1.0);
        assert_eq!(Decades::up_to(101.0).ticks().len(), 5);
        let labels = [0.1, 2.5, 10.0, 12_000.0].map(plain);
        assert_eq!(labels, ["0.1", "2.5", "10", "12\u{202f}000"]);
    }

    #[test]
    fn a_picture_has_all_its_parts_and_stays_within_itself() {
        let step = Step {
            operations: 400,
            errors: 2,
            p50: Duration::from_millis(1),
            p99: Duration::from_millis(3),
            max: Duration::from_millis(250),
        };
        let timeline = Timeline {
            marks: Marks {
                killed: Duration::from_secs(1),
                started: Duration::from_secs(2),
                served: Some(Duration::from_millis(2050)),
            },
            living: vec![step; 40],
            killed: vec![Step::default(); 40],
        };
        let text = svg(&timeline, "three nodes & <one> killed");
        assert!(text.contains("three nodes &amp; &lt;one&gt; killed"));
        for words in [
            "kill -9",
            "started again",
            "answers",
            "living nodes (sum 80)",
        ] {
            assert!(text.contains(words), "no {words} in {text}");
        }
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
        assert!(!text.contains("NaN") && !text.contains("inf"));
        let opened = text.matches("<rect").count() + text.matches("<path").count();
        assert!(opened > 40, "{opened}");
    }
}
