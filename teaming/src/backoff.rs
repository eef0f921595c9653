//! When a refused request is retried: after 0.1 s, then at intervals that double while it is refused, up to a minute.

use crate::ids::Ticks;

#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    due: Option<Ticks>,
    /// The last interval; `last` is the time when it ended.
    wait: Ticks,
    last: Ticks,
}

impl Backoff {
    pub const IDLE: Self = Self { due: None, wait: Self::FIRST, last: Ticks::ZERO };
    const FIRST: Ticks = Ticks::from_ms(100);
    const LONGEST: Ticks = Ticks::from_ms(60_000);

    /// Records a failure.
    pub fn plan(&mut self, now: Ticks) {
        if self.due.is_none() {
            let still = now.since(self.last) <= self.wait;
            self.wait =
                if still { self.wait.saturating_add(self.wait).min(Self::LONGEST) } else { Self::FIRST };
            self.due = Some(now.saturating_add(self.wait));
        }
    }

    /// The time of the next attempt.
    pub const fn due(&self) -> Option<Ticks> {
        self.due
    }

    /// Whether the next attempt is due; true once for each.
    pub fn take(&mut self, now: Ticks) -> bool {
        let come = self.due.is_some_and(|due| due <= now);
        if come {
            (self.due, self.last) = (None, now);
        }
        come
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_double_up_to_a_minute_while_it_is_refused_and_begin_anew_after_a_rest() {
        let mut backoff = Backoff::IDLE;
        let mut now = Ticks::from_ms(1_000_000);
        let mut waits = std::vec::Vec::new();
        for _ in 0..12 {
            backoff.plan(now);
            backoff.plan(now.saturating_add(Ticks::from_ms(1)));
            let due = backoff.due().unwrap();
            waits.push(due.since(now));
            assert!(!backoff.take(Ticks::new(due.get() - 1)) && backoff.take(due) && !backoff.take(due));
            now = due;
        }
        let expected = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 60_000, 60_000];
        assert_eq!(waits, expected.map(Ticks::from_ms));
        now = now.saturating_add(Ticks::from_ms(60_001));
        backoff.plan(now);
        assert_eq!(backoff.due().unwrap().since(now), Ticks::from_ms(100));
    }
}
