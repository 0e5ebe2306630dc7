//! Elements of a collection taken at random (`HRANDFIELD`, `SRANDMEMBER`, `SPOP`, `ZRANDMEMBER`).

use std::borrow::Cow;
use std::collections::HashSet;

use crate::store::{HashView, Score, SetView, SortedSetView};

/// A collection with more elements is sampled where listing them would take longer than the choice.
const LISTED_MAX: usize = 512;
/// It is sampled when it has this many times the elements that are asked for.
const SAMPLED_SHARE: usize = 3;

/// An element and its value, which is empty in a set.
pub type Pair<'h> = (Cow<'h, [u8]>, Cow<'h, [u8]>);

/// What elements can be drawn from.
pub trait Sampled<'h>: Copy {
    /// How many there are.
    fn len(self) -> usize;
    /// All of them.
    fn list(self) -> Vec<Pair<'h>>;
    /// One near a random point.
    fn near(self, random: u64) -> Option<Pair<'h>>;
}

impl<'h> Sampled<'h> for HashView<'h> {
    fn len(self) -> usize {
        self.len()
    }

    fn list(self) -> Vec<Pair<'h>> {
        self.iter().map(|(f, v)| (f.into(), v.into())).collect()
    }

    fn near(self, random: u64) -> Option<Pair<'h>> {
        let mut drawn = None;
        self.sample(random, 1, |field, value| {
            drawn = Some((field.to_vec().into(), value.to_vec().into()));
        });
        drawn
    }
}

impl<'h> Sampled<'h> for SetView<'h> {
    fn len(self) -> usize {
        self.len()
    }

    fn list(self) -> Vec<Pair<'h>> {
        self.iter()
            .map(|member| (member.into(), Cow::default()))
            .collect()
    }

    fn near(self, random: u64) -> Option<Pair<'h>> {
        let mut drawn = None;
        self.sample(random, 1, |member| {
            drawn = Some((member.to_vec().into(), Cow::default()));
        });
        drawn
    }
}

impl<'h> Sampled<'h> for SortedSetView<'h> {
    fn len(self) -> usize {
        self.len()
    }

    fn list(self) -> Vec<Pair<'h>> {
        let encoded = |score| Score::encode(score).to_vec().into();
        self.iter()
            .map(|(member, score)| (member.into(), encoded(score)))
            .collect()
    }

    fn near(self, random: u64) -> Option<Pair<'h>> {
        let mut drawn = None;
        self.sample(random, 1, |member, score| {
            let score = Score::encode(score).to_vec();
            drawn = Some((member.to_vec().into(), score.into()));
        });
        drawn
    }
}

/// Draws elements with replacement.
pub enum Urn<'h, E> {
    /// All of them: every one has the same chance.
    Listed(Vec<Pair<'h>>),
    /// A large collection, of which an element near a random point is taken.
    Sampled(E),
}

impl<'h, E: Sampled<'h>> Urn<'h, E> {
    /// One to draw about `count` elements from.
    pub fn new(elements: E, count: usize) -> Self {
        if elements.len() <= LISTED_MAX || elements.len() / SAMPLED_SHARE <= count {
            Urn::Listed(elements.list())
        } else {
            Urn::Sampled(elements)
        }
    }

    /// One of them; `None` if there is none.
    pub fn draw(&self) -> Option<Pair<'h>> {
        match self {
            Urn::Listed(pairs) if pairs.is_empty() => None,
            Urn::Listed(pairs) => Some(pairs[rand::random_range(0..pairs.len())].clone()),
            Urn::Sampled(elements) => elements.near(rand::random()),
        }
    }
}

/// As many different elements as there are, at most `count`.
pub fn distinct<'h, E: Sampled<'h>>(elements: E, count: usize) -> Vec<Pair<'h>> {
    if count < elements.len()
        && let urn @ Urn::Sampled(_) = Urn::new(elements, count)
    {
        // There are far more than are asked for: few are drawn twice.
        let mut chosen = HashSet::with_capacity(count);
        while chosen.len() < count
            && let Some(pair) = urn.draw()
        {
            chosen.insert(pair);
        }
        return chosen.into_iter().collect();
    }
    let mut all = elements.list();
    let count = count.min(all.len());
    let chosen = rand::seq::index::sample(&mut rand::rng(), all.len(), count);
    chosen
        .into_iter()
        .map(|index| std::mem::take(&mut all[index]))
        .collect()
}
