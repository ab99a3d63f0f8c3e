//! What was measured, beside what it is compared with.

use std::time::Duration;

use crate::Scenario;

/// How long a scenario took until those had everything who count, and what it cost.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) time: Duration,
    /// Bytes that the sender's interface sent meanwhile.
    pub(crate) sent: u64,
    /// When the one that does not count had everything, if that was waited for.
    pub(crate) last: Option<Duration>,
}

/// What `--check` allows, of each in turn.
const LIMITS: [(Scenario, Limit); 4] = [
    (Scenario::Session, Limit::Times(Scenario::One, 1.3)),
    (Scenario::Session, Limit::Sent(1.2)),
    (Scenario::Slow, Limit::Times(Scenario::Fewer, 1.1)),
    (Scenario::Killed, Limit::Later(Scenario::Session, 10.0)),
];

enum Limit {
    /// So many times as long as another scenario.
    Times(Scenario, f64),
    /// So many seconds longer.
    Later(Scenario, f64),
    /// So many times the size of it all goes out of the sender.
    Sent(f64),
}

pub(crate) struct Results {
    bytes: u64,
    all: Vec<(Scenario, Measured)>,
}

impl Results {
    pub(crate) fn new(bytes: u64) -> Self {
        let all = Vec::new();
        Self { bytes, all }
    }

    /// Adds what was measured, and prints it.
    pub(crate) fn add(&mut self, scenario: Scenario, measured: Measured) {
        self.all.push((scenario, measured));
        let seconds = measured.time.as_secs_f64();
        print!("{:60} {seconds:6.2} s", scenario.title());
        if let Some(ratio) = self.ratio(scenario, Scenario::One) {
            print!(" = {ratio:4.2} x one");
        }
        print!("   sent {:4.2} x the size", self.sent(measured));
        let beside = scenario.without().map(|base| self.ratio(scenario, base));
        if let Some(ratio) = beside.flatten() {
            print!("   {ratio:4.2} x without it");
        }
        println!();
        if let Some(last) = measured.last {
            println!(
                "{:60} {:6.2} s",
                "  the slow one itself",
                last.as_secs_f64()
            );
        }
    }

    /// What was worse than it may be, in words.
    pub(crate) fn faults(&self) -> Vec<String> {
        let faults = LIMITS.iter().filter_map(|(scenario, limit)| {
            let why = self.exceeds(*scenario, limit)?;
            Some(format!("{}: {why}", scenario.title()))
        });
        faults.collect()
    }

    /// Why it is more than that. What was not measured is not judged.
    fn exceeds(&self, scenario: Scenario, limit: &Limit) -> Option<String> {
        let (found, most, unit) = match *limit {
            Limit::Times(base, most) => {
                let is_one = base == Scenario::One;
                let unit = if is_one { "x one" } else { "x without it" };
                (self.ratio(scenario, base)?, most, unit)
            }
            Limit::Later(base, most) => {
                let later = self.seconds(scenario)? - self.seconds(base)?;
                (later, most, "s longer than without it")
            }
            Limit::Sent(most) => (self.sent(self.of(scenario)?), most, "x the size sent"),
        };
        (found > most).then(|| format!("{found:.2} {unit}, and at most {most} is allowed"))
    }

    fn of(&self, scenario: Scenario) -> Option<Measured> {
        let mut all = self.all.iter();
        all.find(|(of, _)| *of == scenario)
            .map(|(_, measured)| *measured)
    }

    fn seconds(&self, scenario: Scenario) -> Option<f64> {
        self.of(scenario)
            .map(|measured| measured.time.as_secs_f64())
    }

    fn ratio(&self, scenario: Scenario, base: Scenario) -> Option<f64> {
        Some(self.seconds(scenario)? / self.seconds(base)?)
    }

    fn sent(&self, measured: Measured) -> f64 {
        measured.sent as f64 / self.bytes as f64
    }
}
