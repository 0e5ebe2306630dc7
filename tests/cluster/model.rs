//! What clients may find after faults, given what they were told.

use std::collections::{BTreeMap, BTreeSet};

/// What a write ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Said to have succeeded: never lost.
    Acknowledged,
    /// Refused: no effect.
    Refused,
    /// It may have taken effect: `NOQUORUM`, which was answered when all was decided.
    Undecided,
    /// It may have taken effect, or may yet: the connection was lost.
    Abandoned,
}

/// A value, or that there is none.
pub type Value = Option<String>;

/// A key or field with one writer. Every value it is given is unique.
#[derive(Clone, Debug)]
pub struct Register {
    /// What may be read, oldest first: the last acknowledged value, or the one last read, and those that came later.
    possible: Vec<Value>,
    /// The writer has left it alone since the outcome of a write became open for ever.
    pub retired: bool,
}

impl Default for Register {
    fn default() -> Self {
        Self {
            possible: vec![None],
            retired: false,
        }
    }
}

impl Register {
    pub fn written(&mut self, value: Value, outcome: Outcome) {
        match outcome {
            // Then what was abandoned before may still arrive after this.
            Outcome::Acknowledged if self.retired => self.possible.push(value),
            Outcome::Acknowledged => self.possible = vec![value],
            Outcome::Refused => {}
            Outcome::Undecided => self.possible.push(value),
            Outcome::Abandoned => {
                self.possible.push(value);
                self.retired = true;
            }
        }
    }

    /// A deletion found nothing to delete. It may have left no trace, so that open writes may still appear.
    pub fn found_absent(&mut self) {
        match self.possible.iter().position(Option::is_none) {
            Some(_) if self.retired => {}
            Some(found) => drop(self.possible.drain(..found)),
            // It was executed twice, and this was the second time.
            None => self.written(None, Outcome::Acknowledged),
        }
    }

    /// Checks a value that was read with a quorum: reads never go back.
    ///
    /// # Errors
    /// The value can't be there.
    pub fn read(&mut self, value: &Value) -> Result<(), String> {
        let Some(found) = self.possible.iter().position(|p| p == value) else {
            return Err(format!("{value:?} instead of one of {:?}", self.possible));
        };
        // What was abandoned may still arrive after what has been read.
        if !self.retired {
            self.possible.drain(..found);
        }
        Ok(())
    }

    /// Is it certain that there is nothing?
    pub fn is_deleted(&self) -> bool {
        self.possible.iter().all(Option::is_none)
    }
}

/// A counter that all writers add to.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    acknowledged: i64,
    /// Of which it isn't known whether they were added.
    open: Vec<i64>,
}

impl Counter {
    pub fn added(&mut self, amount: i64, outcome: Outcome) {
        match outcome {
            Outcome::Acknowledged => self.acknowledged += amount,
            Outcome::Refused => {}
            Outcome::Undecided | Outcome::Abandoned => self.open.push(amount),
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.open.extend(&other.open);
    }

    /// Checks the final value.
    ///
    /// # Errors
    /// No subset of the open additions explains it.
    pub fn check(&self, value: i64) -> Result<(), String> {
        let mut reachable = BTreeSet::from([self.acknowledged]);
        for amount in &self.open {
            let more: Vec<_> = reachable.iter().map(|sum| sum + amount).collect();
            reachable.extend(more);
        }
        if reachable.contains(&value) {
            Ok(())
        } else {
            Err(format!(
                "{value} is not {} plus some of {:?}",
                self.acknowledged, self.open
            ))
        }
    }
}

/// A place for a value: a key, or a field of a hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    Key(String),
    Field(String, String),
}

impl Cell {
    pub fn read(&self) -> Vec<String> {
        match self {
            Self::Key(key) => words(&["GET", key]),
            Self::Field(key, field) => words(&["HGET", key, field]),
        }
    }

    pub fn write(&self, value: &Value) -> Vec<String> {
        match (self, value) {
            (Self::Key(key), Some(value)) => words(&["SET", key, value]),
            (Self::Key(key), None) => words(&["DEL", key]),
            (Self::Field(key, field), Some(value)) => words(&["HSET", key, field, value]),
            (Self::Field(key, field), None) => words(&["HDEL", key, field]),
        }
    }

    /// For cells that are counters.
    pub fn add(&self, amount: i64) -> Vec<String> {
        let amount = amount.to_string();
        match self {
            Self::Key(key) => words(&["INCRBY", key, &amount]),
            Self::Field(key, field) => words(&["HINCRBY", key, field, &amount]),
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// All that one client, or all together, may find.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub registers: BTreeMap<Cell, Register>,
    pub counters: BTreeMap<Cell, Counter>,
}

impl Model {
    /// Adds what another client knows: of other registers, and of the same counters.
    pub fn merge(&mut self, other: Self) {
        for (cell, counter) in &other.counters {
            self.counters
                .entry(cell.clone())
                .or_default()
                .merge(counter);
        }
        for (cell, register) in other.registers {
            let earlier = self.registers.insert(cell, register);
            assert!(earlier.is_none(), "registers have one writer");
        }
    }
}

#[test]
fn a_register_is_the_last_acknowledged_value_or_a_later_open_one() {
    let value = |text: &str| Some(text.to_owned());
    let mut register = Register::default();
    register.written(value("a"), Outcome::Acknowledged);
    register.written(value("b"), Outcome::Refused);
    register.written(value("c"), Outcome::Undecided);
    register.written(value("d"), Outcome::Undecided);
    assert!(register.read(&value("b")).is_err());
    assert!(register.read(&None).is_err());
    assert!(register.read(&value("a")).is_ok());
    assert!(register.read(&value("c")).is_ok());
    assert!(register.read(&value("a")).is_err(), "reads go back");
    assert!(register.read(&value("d")).is_ok());
    register.written(None, Outcome::Acknowledged);
    assert!(register.is_deleted());
    assert!(register.read(&value("d")).is_err(), "it is deleted");
    register.written(value("late"), Outcome::Undecided);
    register.found_absent();
    assert!(register.read(&None).is_ok() && register.read(&value("late")).is_ok());
    register.written(None, Outcome::Acknowledged);
    register.written(value("e"), Outcome::Abandoned);
    assert!(register.retired && register.read(&value("e")).is_ok());
    assert!(register.read(&None).is_ok(), "it may arrive late");
    register.written(value("f"), Outcome::Acknowledged);
    assert!(register.read(&value("e")).is_ok(), "also after another");
}

#[test]
fn a_counter_is_what_was_acknowledged_and_some_of_the_open_additions() {
    let mut counter = Counter::default();
    counter.added(10, Outcome::Acknowledged);
    counter.added(100, Outcome::Refused);
    counter.added(3, Outcome::Undecided);
    let mut other = Counter::default();
    other.added(5, Outcome::Abandoned);
    counter.merge(&other);
    for (value, possible) in [(9, false), (10, true), (13, true), (15, true), (18, true)] {
        assert_eq!(counter.check(value).is_ok(), possible, "{value}");
    }
    assert!(counter.check(16).is_err() && counter.check(110).is_err());
}
