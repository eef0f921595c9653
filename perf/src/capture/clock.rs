//! The clock of a recording: what it jumps by is no time that passed.
//!
//! A recorder's clock is set while it records (a machine that starts in 1970 and then hears of the year), files of
//! several days are strung together, single records have no true time. A record that lies more than a day after those
//! before it, or more than ten seconds before them, was recorded by another clock: it counts as at the time of the last
//! one, and its clock goes on from there. Less than that is silence, or disorder among interfaces.

use crate::text::count_of;
use std::collections::VecDeque;
use std::time::Duration;

/// Silence up to this is silence.
const SILENCE: i128 = 86_400 * SECOND;
/// Records of several interfaces are out of order by less.
const DISORDER: i128 = 10 * SECOND;
/// In nanoseconds.
const SECOND: i128 = 1_000_000_000;
/// Clocks to which a record can return; most recordings have one.
const CLOCKS: usize = 8;

#[derive(Default)]
pub struct Clock {
    /// Nanoseconds that are added to time stamps, the present one first, then earlier ones.
    shifts: VecDeque<i128>,
    /// The latest time so far.
    newest: i128,
    steps: u64,
    /// The largest step, in nanoseconds; negative is back.
    largest: i128,
}

impl Clock {
    /// The time of the next record, in which no step is.
    pub fn at(&mut self, stamp: Duration) -> Duration {
        let stamp = i128::try_from(stamp.as_nanos()).unwrap_or(i128::MAX / 2);
        if self.shifts.is_empty() {
            self.shifts.push_front(0);
            self.newest = stamp;
        }
        let newest = self.newest;
        let suits = |shift: &i128| (newest - DISORDER..=newest + SILENCE).contains(&(stamp + shift));
        let shift = match self.shifts.iter().position(suits) {
            Some(0) => self.shifts[0],
            Some(known) => {
                let shift = self.shifts.remove(known).unwrap_or(0);
                self.shifts.push_front(shift);
                shift
            }
            None => {
                let step = stamp + self.shifts[0] - newest;
                self.steps += 1;
                if step.abs() > self.largest.abs() {
                    self.largest = step;
                }
                self.shifts.truncate(CLOCKS - 1);
                self.shifts.push_front(newest - stamp);
                newest - stamp
            }
        };
        let at = stamp + shift;
        self.newest = newest.max(at);
        Duration::from_nanos(u64::try_from(at).unwrap_or(0))
    }

    /// What is to be said of it.
    pub fn warning(&self) -> Option<String> {
        let seconds = self.largest.unsigned_abs() / SECOND.unsigned_abs();
        let way = if self.largest < 0 { "back" } else { "ahead" };
        (self.steps != 0).then(|| {
            format!(
                "the clock of the recording jumps {}, most by {} {way}; no time passes in a jump",
                count_of(self.steps, "time"),
                count_of(u64::try_from(seconds).unwrap_or(u64::MAX), "second")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times in seconds that come of these time stamps in seconds, and the number of steps.
    fn times(stamps: &[u64]) -> (Vec<u64>, u64) {
        let mut clock = Clock::default();
        let times = stamps.iter().map(|stamp| clock.at(Duration::from_secs(*stamp)).as_secs()).collect();
        (times, clock.steps)
    }

    #[test]
    fn silence_of_a_day_and_disorder_of_some_seconds_are_taken_as_they_are() {
        for stamps in
            [&[5, 6, 86_406, 172_806][..], &[100, 95, 101, 91], &[7], &[1_700_000_000, 1_700_000_000]]
        {
            assert_eq!(times(stamps), (stamps.to_vec(), 0));
        }
    }

    #[test]
    fn no_time_passes_when_the_clock_is_set() {
        assert_eq!(times(&[0, 2, 1_700_000_000, 1_700_000_003]), (vec![0, 2, 2, 5], 1));
        assert_eq!(
            times(&[1_700_000_000, 1_700_000_002, 0, 3]).0,
            [1_700_000_000, 1_700_000_002, 1_700_000_002, 1_700_000_005]
        );
        // Back by an hour.
        assert_eq!(times(&[7_200, 7_260, 3_660, 3_720]), (vec![7_200, 7_260, 7_260, 7_320], 1));
    }

    #[test]
    fn a_record_without_a_true_time_leaves_those_after_it_where_they_are() {
        assert_eq!(
            times(&[1_000_000, 1_000_001, 0, 1_000_004]),
            (vec![1_000_000, 1_000_001, 1_000_001, 1_000_004], 1)
        );
        assert_eq!(
            times(&[1_000_000, 9_000_000, 1_000_004, 9_000_005]),
            (vec![1_000_000, 1_000_000, 1_000_004, 1_000_005], 1)
        );
    }

    #[test]
    fn clocks_without_end_are_held_to_a_few() {
        let mut clock = Clock::default();
        for day in 0..1_000_u64 {
            clock.at(Duration::from_secs(day * day % 977 * 1_000_000));
        }
        assert!(clock.shifts.len() <= CLOCKS && clock.newest < 1_000 * SILENCE);
        let said = clock.warning().expect("it jumps");
        assert!(said.contains("jumps ") && said.contains(" times, most by "), "{said}");
    }
}
