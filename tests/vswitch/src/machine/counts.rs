//! How often each rule was checked: several hundred times for each packet, so a name is found by its address, and names
//! are compared only when they are summed up.

use std::ptr;

/// Several times the number of rules; one rule's name may lie at several addresses.
const SLOTS: usize = 1 << BITS;
const BITS: u32 = 11;

/// Counts by name, in a table with open addressing that never grows.
pub struct Counts(Box<[(&'static str, u64)]>);

impl Default for Counts {
    fn default() -> Self {
        Self(vec![("", 0); SLOTS].into_boxed_slice())
    }
}

impl Counts {
    /// # Panics
    /// If there are more names than slots.
    pub fn count(&mut self, name: &'static str) {
        let hash = (name.as_ptr() as usize as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let first = (hash >> (u64::BITS - BITS)) as usize;
        for at in first..first + SLOTS {
            let slot = &mut self.0[at % SLOTS];
            if ptr::eq(slot.0, name) {
                slot.1 += 1;
                return;
            }
            if slot.1 == 0 {
                *slot = (name, 1);
                return;
            }
        }
        panic!("more than {SLOTS} names");
    }

    /// The names that were counted; the same name may come several times.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().copied().filter(|(_, count)| *count != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn each_name_has_its_own_count_wherever_it_lies() {
        let names: Vec<&'static str> = (0..400).map(|number| &*format!("RULE-{number}").leak()).collect();
        let again: Vec<&'static str> = names.iter().map(|name| &*name.to_string().leak()).collect();
        let mut counts = Counts::default();
        for (number, (name, same)) in names.iter().zip(&again).enumerate() {
            (0..=number).for_each(|_| counts.count(name));
            counts.count(same);
            // One that begins at the same address.
            counts.count(&name[..4]);
        }
        let mut sums = BTreeMap::new();
        counts.all().for_each(|(name, count)| *sums.entry(name).or_insert(0) += count);
        assert_eq!((sums.len(), sums["RULE"]), (401, 400));
        for (number, name) in (0..).zip(names) {
            assert_eq!(sums[name], number + 2, "{name}");
        }
    }
}
