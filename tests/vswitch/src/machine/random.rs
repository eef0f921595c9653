//! cng.sys: random numbers (bcrypt.h), here drawn from the seed of the world.

use crate::exports;
use crate::machine::cpu;
use crate::machine::fault;
use crate::machine::objects::{STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};
use crate::machine::world;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};

const STATUS_INVALID_HANDLE: i32 = 0xC000_0008_u32 as i32;
const SYSTEM_PREFERRED: u32 = 2;

/// How many words the world has given out.
#[derive(Default)]
struct Drawn(AtomicU64);

exports! {
    pub extern "win64" fn BCryptGenRandom(
        algorithm: *mut c_void,
        buffer: *mut u8,
        length: u32,
        flags: u32,
    ) -> i32 where irql <= PASSIVE {
        let world = world::current();
        cpu::require_may_wait("BCryptGenRandom");
        if !algorithm.is_null() || flags != SYSTEM_PREFERRED || buffer.is_null() {
            // No provider is ever opened here, so a handle is nobody's.
            return STATUS_INVALID_HANDLE;
        }
        if fault::fails("BCryptGenRandom") {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        let seed = world.config().seed;
        for at in 0..length as usize {
            let number = world.part::<Drawn>().0.fetch_add(1, Ordering::SeqCst);
            let mixed = (seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
            // SAFETY: the caller's buffer has `length` bytes.
            unsafe { buffer.add(at).write((mixed >> 56) as u8) };
        }
        STATUS_SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::world::{Config, World};

    fn draw(count: usize) -> (i32, Vec<u8>) {
        let mut bytes = vec![0; count];
        // SAFETY: the buffer lives through the call.
        let status = unsafe {
            BCryptGenRandom(std::ptr::null_mut(), bytes.as_mut_ptr(), count as u32, SYSTEM_PREFERRED)
        };
        (status, bytes)
    }

    #[test]
    fn what_is_drawn_differs_each_time_and_is_the_same_for_a_seed() {
        let drawn = |seed| {
            let world = World::new(Config { seed, ..Config::default() });
            world.enter(|| (draw(16), draw(16))).expect("it ends")
        };
        let ((status, one), (_, two)) = drawn(1);
        assert_eq!(status, STATUS_SUCCESS);
        assert_ne!(one, two);
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn a_handle_of_nobody_is_refused_and_a_call_too_high_is_found() {
        let world = World::new(Config::default());
        world
            .enter(|| {
                // SAFETY: refused before the buffer is touched.
                let status = unsafe { BCryptGenRandom(std::ptr::null_mut(), std::ptr::null_mut(), 0, 0) };
                assert_eq!(status, STATUS_INVALID_HANDLE);
                let old = cpu::raise_to_dispatch();
                draw(1);
                cpu::lower(old);
            })
            .expect("it ends");
        let rules: Vec<_> = world.violations().iter().map(|violation| violation.rule).collect();
        assert_eq!(rules, ["IRQL-01", "IRQL-03"]);
    }
}
