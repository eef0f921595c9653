//! What Windows may do although no page says that it does. A driver has to get along with all of it, so the seed draws
//! each by itself; without them the switch does what the pages say.

use crate::machine::world::{ADVERSITIES, below, stream};

/// One member for each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Adversities {
    /// Free slots of a destination array hold what an earlier packet left there. No page says what they hold.
    pub stale_slots: bool,
    /// AddNetBufferListDestination is refused where no slot is free. The documented steps for a single destination have no
    /// GrowNetBufferListDestinations (adding-extensible-switch-destination-port-data-to-a-packet), so the switch makes
    /// room by itself; no page promises it. Only where a test asks for it: each refusal costs a packet.
    pub add_needs_slot: bool,
    /// Lists come with a ChildRefCount that a driver above left. By the page they come with none, because a parent is never
    /// passed to another driver (relationships-between-net-buffer-list-generations).
    pub derived_above: bool,
}

impl Adversities {
    pub const NONE: Self = Self { stale_slots: false, add_needs_slot: false, derived_above: false };

    /// Those of a seed, but for the one that a test asks for: each in half of all seeds.
    pub fn drawn(seed: u64) -> Self {
        let mut rng = stream(seed, ADVERSITIES);
        let [stale_slots, derived_above] = [(); 2].map(|()| below(&mut rng, 2) == 1);
        Self { stale_slots, derived_above, ..Self::NONE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_drawn_in_about_half_of_the_seeds_and_by_itself() {
        let all: Vec<_> = (0..400).map(Adversities::drawn).collect();
        let count = |of: fn(&Adversities) -> bool| all.iter().filter(|one| of(one)).count();
        assert!((150..250).contains(&count(|a| a.stale_slots)));
        assert!((150..250).contains(&count(|a| a.derived_above)));
        assert!((60..140).contains(&count(|a| a.stale_slots && a.derived_above)));
        assert!((60..140).contains(&count(|a| *a == Adversities::NONE)));
    }
}
