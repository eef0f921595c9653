//! The time of a single decision, by the time-stamp counter of the processor.

use super::{HOT, VM, forwarding, frames, frames_v6};
use core::arch::x86_64::{__rdtscp, _mm_lfence, _rdtsc};
use std::hint::black_box;
use std::time::{Duration, Instant};
use teaming::forward::{OutOfBand, Packet};
use teaming::ids::Ticks;

const SAMPLES: usize = 100_000;

/// Nanoseconds of single decisions, sorted, without the cost of reading the counter. The processor executes no other
/// instructions meanwhile, so a single decision costs more than one of a series.
pub fn decisions(v6: bool) -> Vec<f64> {
    let forwarding = forwarding();
    let source_port = forwarding.source_port(VM);
    let frames = if v6 { frames_v6(HOT) } else { frames(HOT) };
    let decide = |frame: &[u8]| {
        let packet =
            Packet { source: VM, window: black_box(frame), pinned: None, native: false, now: Ticks::ZERO };
        black_box(forwarding.decide_from(&source_port, &packet, &OutOfBand::NOTHING));
    };
    frames.iter().cycle().take(10 * HOT).for_each(|frame| decide(frame));
    let idle = frames.iter().map(|_| cycles(|| {})).min().unwrap_or(0);
    let each = frames.iter().cycle().take(SAMPLES).map(|frame| cycles(|| decide(frame)).saturating_sub(idle));
    let each: Vec<u64> = each.collect();
    let unit = ns_of_a_cycle();
    let mut samples: Vec<f64> = each.into_iter().map(|cycles| cycles as f64 * unit).collect();
    samples.sort_by(f64::total_cmp);
    samples
}

fn cycles(work: impl FnOnce()) -> u64 {
    let mut processor = 0;
    // SAFETY: every processor of this architecture has these instructions.
    let start = unsafe {
        _mm_lfence();
        let start = _rdtsc();
        _mm_lfence();
        start
    };
    work();
    // SAFETY: as above.
    let end = unsafe {
        let end = __rdtscp(&raw mut processor);
        _mm_lfence();
        end
    };
    end.wrapping_sub(start)
}

fn ns_of_a_cycle() -> f64 {
    // SAFETY: as above.
    let (began, start) = (Instant::now(), unsafe { _rdtsc() });
    std::thread::sleep(Duration::from_millis(100));
    // SAFETY: as above.
    let (passed, end) = (began.elapsed(), unsafe { _rdtsc() });
    passed.as_nanos() as f64 / end.wrapping_sub(start) as f64
}
