//! Parts: what is known of connections, each different part kept once and named by a number.

use std::collections::HashMap;
use std::hash::Hash;

use base::Target;

use crate::facts::{Course, Facts, Identity, Part, Way};

/// What is known of one connection, by the numbers of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) identity: u32,
    pub(super) target: u32,
    pub(super) course: u32,
}

/// The number of a part of which nothing was said yet.
const NOTHING: u32 = u32::MAX;

impl Known {
    /// Of a connection that no event was about yet.
    pub(super) const NOTHING: Self = Self {
        identity: NOTHING,
        target: NOTHING,
        course: NOTHING,
    };
}

/// All different parts of one file.
pub(super) struct Parts {
    pub(super) identities: Same<Identity>,
    pub(super) targets: Same<Option<Target>>,
    pub(super) courses: Same<Course>,
}

impl Parts {
    /// What is known once an event said `said`, whose parts are numbered alike.
    pub(super) fn learn(&mut self, known: Known, said: Known) -> Known {
        Known {
            identity: self.identities.learn(known.identity, said.identity),
            target: self.targets.learn(known.target, said.target),
            course: self.courses.learn(known.course, said.course),
        }
    }

    /// Takes in what was known before this file.
    pub(super) fn take_in(&mut self, facts: Facts) -> Known {
        Known {
            identity: self.identities.number(facts.identity),
            target: self.targets.number(facts.target),
            course: self.courses.number(facts.course),
        }
    }

    /// Where a connection went, and how.
    pub(super) fn way(&self, known: Known) -> Way<'_> {
        Way {
            target: self.targets.get(known.target),
            course: self.courses.get(known.course),
        }
    }

    pub(super) fn facts(&self, known: Known) -> Facts {
        Facts {
            identity: self.identities.get(known.identity).clone(),
            target: self.targets.get(known.target).clone(),
            course: self.courses.get(known.course).clone(),
        }
    }
}

/// Different values of one part. What an event adds to a value is worked out once.
pub(super) struct Same<T> {
    values: Vec<T>,
    /// Empty until a value is sought.
    numbers: HashMap<T, u32>,
    /// For each value what was added last, and what that came to.
    lately: Vec<(u32, u32)>,
    learnt: HashMap<(u32, u32), u32>,
}

impl<T: Part + Eq + Hash> Same<T> {
    /// Of these values, numbered as they come. Equal ones among them keep their own numbers.
    pub(super) fn new(values: Vec<T>) -> Self {
        Self {
            lately: vec![(NOTHING, NOTHING); values.len()],
            values,
            numbers: HashMap::new(),
            learnt: HashMap::new(),
        }
    }

    pub(super) fn get(&self, number: u32) -> &T {
        &self.values[number as usize]
    }

    fn number(&mut self, value: T) -> u32 {
        if self.numbers.is_empty() {
            self.numbers = self.values.iter().cloned().zip(0..).collect();
        }
        if let Some(&number) = self.numbers.get(&value) {
            return number;
        }
        let number = u32::try_from(self.values.len()).expect("a file has fewer rows");
        self.values.push(value.clone());
        self.lately.push((NOTHING, NOTHING));
        self.numbers.insert(value, number);
        number
    }

    fn learn(&mut self, known: u32, said: u32) -> u32 {
        if known == NOTHING {
            return said;
        }
        let (last, sum) = self.lately[known as usize];
        if last == said {
            return sum;
        }
        let sum = match self.learnt.get(&(known, said)) {
            Some(&sum) => sum,
            None => {
                let mut value = self.get(known).clone();
                value.learn(self.get(said));
                // Mostly nothing new is said, or everything that is known is said again.
                let sum = if value == *self.get(known) {
                    known
                } else if value == *self.get(said) {
                    said
                } else {
                    self.number(value)
                };
                self.learnt.insert((known, said), sum);
                sum
            }
        };
        self.lately[known as usize] = (said, sum);
        sum
    }
}
