//! The length of long tests. An ordinary run uses a few seeds; environment variables select more or other seeds.

use std::env;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Factor for the number of seeds of an ordinary run.
const DEPTH: &str = "LBFOEXT_DEPTH";
/// The first seed, so that each run can use other seeds.
const FIRST: &str = "LBFOEXT_SEED";
/// A fault sweep lets one of so many calls fail.
const STRIDE: &str = "LBFOEXT_STRIDE";

/// # Panics
/// If the variable is set, but is not a number of at least `least`.
fn number(name: &str, least: u64, default: u64) -> u64 {
    let Ok(text) = env::var(name) else { return default };
    let number = text.parse().ok().filter(|number| *number >= least);
    number
        .unwrap_or_else(|| panic!("{name} is {text:?}: set it to a number of {least} or more, or not at all"))
}

/// The seeds of a test that uses `ordinary` seeds in an ordinary run.
pub fn seeds(ordinary: u64) -> Range<u64> {
    let first = number(FIRST, 0, 0);
    first..first + ordinary * number(DEPTH, 1, 1)
}

/// The calls that a long sweep lets fail, counted from 1: all, unless the environment sets a stride.
pub fn calls() -> impl Iterator<Item = u64> {
    one_of(1)
}

/// Moments of a long sweep, of which there are so many to a fallible call.
pub fn one_of(many: u64) -> impl Iterator<Item = u64> {
    let stride = number(STRIDE, 1, 1) * many;
    every(stride, number(FIRST, 0, 0) % stride)
}

/// Every `stride`-th call, after the first `after` calls.
pub fn every(stride: u64, after: u64) -> impl Iterator<Item = u64> {
    (1 + after..).step_by(usize::try_from(stride).unwrap_or(usize::MAX))
}

/// Calls `of` with every item, on all processors.
pub fn each<T: Sync>(items: &[T], of: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    of(item);
                }
            });
        }
    });
}
