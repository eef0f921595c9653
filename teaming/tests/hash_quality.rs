//! Quality of the flow hash: evenness over realistic and adversarial keys, effect of the seed, avalanche; compared
//! with two hashes that are not used. `--nocapture` prints the figures that ARCHITECTURE.md quotes.

#[path = "captures/reader.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod reader;

use std::collections::HashSet;

use teaming::flow::hash::{DEFAULT_SEED, Seed, TOEPLITZ_SAMPLE_KEY, Toeplitz};
use teaming::flow::{FlowKey, HashPolicy, key};
use teaming::frame::parse;
use teaming::ids::{NicId, NicIndex, PortId};

const BUCKETS: usize = 4096;

type Hash = Box<dyn Fn(&FlowKey, u64) -> u32>;

/// The flow hash; CRC-32, seeded by its initial value; Toeplitz, which has only a key and no seed.
fn hashes() -> [(&'static str, Hash); 3] {
    let table: Vec<u32> = (0..256_u32)
        .map(|octet| (0..8).fold(octet, |sum, _| sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg())))
        .collect();
    let toeplitz = Toeplitz::new(&TOEPLITZ_SAMPLE_KEY);
    [
        ("rapidhash", Box::new(|key, seed| Seed::new(seed).hash64(key) as u32)),
        (
            "crc-32",
            Box::new(move |key, seed| {
                key.bytes()
                    .iter()
                    .fold(seed as u32, |sum, octet| sum >> 8 ^ table[usize::from(sum as u8 ^ octet)])
            }),
        ),
        ("toeplitz", Box::new(move |key, seed| toeplitz.hash(&key.bytes()) ^ seed as u32)),
    ]
}

fn tcp4(source: u32, destination: u32, source_port: u16, destination_port: u16) -> FlowKey {
    let addresses = u64::from(source.swap_bytes()) | u64::from(destination.swap_bytes()) << 32;
    let ports = u64::from(source_port.swap_bytes()) | u64::from(destination_port.swap_bytes()) << 16;
    FlowKey::Short([addresses, ports | 6 << 32 | 1 << 40])
}

fn tcp6(source: u32, destination: u32, source_port: u16) -> FlowKey {
    let prefix = u64::from_le_bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, 1]);
    let host = |number: u32| u64::from(number.swap_bytes()) << 32;
    let ports = u64::from(source_port.swap_bytes()) | 443_u64.swap_bytes() >> 48 << 16;
    FlowKey::Long([prefix, host(source), prefix, host(destination), ports | 6 << 32 | 1 << 40])
}

/// Sets of 65,536 keys that differ in few bits, as the keys of real and of hostile traffic do.
fn key_sets() -> Vec<(&'static str, Vec<FlowKey>)> {
    let numbers = 0..=u16::MAX;
    let grid = |number: u16| (u32::from(number >> 8), number & 0xff);
    vec![
        (
            "sequential source ports",
            numbers.clone().map(|n| tcp4(0x0a00_0001, 0x0a00_0002, n, 443)).collect(),
        ),
        (
            "sequential source addresses",
            numbers.clone().map(|n| tcp4(0x0a00_0000 + u32::from(n), 0x0a63_0001, 50_000, 443)).collect(),
        ),
        (
            "sequential addresses and ports",
            numbers
                .clone()
                .map(grid)
                .map(|(host, port)| tcp4(0x0a00_0000 + host, 1, 50_000 + port, 443))
                .collect(),
        ),
        (
            "both addresses rise together",
            numbers
                .clone()
                .map(|n| tcp4(0x0a00_0000 + u32::from(n), 0x0b00_0000 + u32::from(n), 1, 1))
                .collect(),
        ),
        ("IPv6, sequential hosts", numbers.clone().map(|n| tcp6(u32::from(n), 7, 50_000)).collect()),
        ("IPv6, sequential ports", numbers.clone().map(|n| tcp6(9, 7, n)).collect()),
        ("one- and two-bit differences", near_keys()),
        ("switch ports", numbers.map(|n| FlowKey::Short([u64::from(n), 4 << 40])).collect()),
    ]
}

/// 40-byte keys that differ from one key in one, two or three bits.
fn near_keys() -> Vec<FlowKey> {
    let mut keys = Vec::new();
    let flipped = |bits: &[usize]| {
        let mut words = [0x0123_4567_89ab_cdef; 5];
        for bit in bits {
            words[bit / 64] ^= 1 << (bit % 64);
        }
        FlowKey::Long(words)
    };
    for first in 0..320 {
        for second in 0..=first {
            keys.push(if first == second { flipped(&[first]) } else { flipped(&[first, second]) });
        }
    }
    keys.extend((0..65_536 - keys.len()).map(|n| flipped(&[n % 64, 64 + n / 64 % 64, 128 + n / 4096])));
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), 65_536);
    keys
}

/// Chi-square in standard deviations from its mean for a uniform distribution. With many bins it is about normal, so 5
/// has a probability below one in a million.
fn chi_square(values: impl Iterator<Item = u32>, bins: usize) -> f64 {
    let mut counts = vec![0_u32; bins];
    values.for_each(|value| counts[value as usize % bins] += 1);
    let expected = f64::from(counts.iter().sum::<u32>()) / bins as f64;
    let sum: f64 = counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
    let freedom = (bins - 1) as f64;
    (sum - freedom) / (2.0 * freedom).sqrt()
}

#[test]
fn adversarial_keys_fill_the_buckets_like_random_ones() {
    for (name, hash) in hashes() {
        for (set, keys) in key_sets() {
            let deviations = [DEFAULT_SEED, 0, 1, u64::MAX]
                .map(|seed| chi_square(keys.iter().map(|key| hash(key, seed)), BUCKETS));
            println!("{name:<10} {set:<32} {deviations:>9.1?}");
            // A linear hash of keys that form a subspace is either more even than random, which does no harm, or very
            // uneven.
            assert!(name != "rapidhash" || deviations.iter().all(|deviation| deviation.abs() < 5.0));
        }
    }
}

#[test]
fn flows_of_real_captures_fill_the_buckets_like_random_ones() {
    let source = NicId::new(PortId::new(7), NicIndex::DEFAULT);
    let frames = reader::bundled()
        .into_iter()
        .flat_map(|(name, folder)| reader::Collection::read(name, &folder).frames);
    let keys: HashSet<FlowKey> =
        frames.map(|frame| key(&parse(&frame.bytes), HashPolicy::TransportPorts, source)).collect();
    for (name, hash) in hashes() {
        let deviation = chi_square(keys.iter().map(|key| hash(key, DEFAULT_SEED)), 64);
        println!("{name:<10} {} flows of captures in 64 bins {deviation:>6.1}", keys.len());
        assert!(name != "rapidhash" || deviation.abs() < 5.0);
    }
    assert!(keys.len() > 640);
}

/// An attacker who knows the algorithm but not the seed searches, with another seed, for flows that share one bucket.
#[test]
fn flows_that_collide_under_one_seed_spread_under_another() {
    for (name, hash) in hashes() {
        let colliding: Vec<FlowKey> = (0..4_000_000_u32)
            .map(|n| tcp4(0x0a00_0000 + (n >> 16), 0x0a63_0001, n as u16, 443))
            .filter(|key| hash(key, DEFAULT_SEED) as usize % BUCKETS == 77)
            .collect();
        assert!(colliding.len() > 800, "{name}");
        let used = |seed| {
            let buckets = colliding.iter().map(|key| hash(key, seed) as usize % BUCKETS);
            buckets.collect::<HashSet<_>>().len()
        };
        let used: Vec<usize> = [DEFAULT_SEED + 1, 1, 0xdead_beef].map(used).to_vec();
        println!("{name:<10} {} flows of one bucket use {used:?} buckets under other seeds", colliding.len());
        if name == "rapidhash" {
            // n random flows leave the fraction (1 - 1/4096)^n of the buckets empty.
            let expected = BUCKETS as f64 * (1.0 - (1.0 - 1.0 / BUCKETS as f64).powi(colliding.len() as i32));
            assert!(used.iter().all(|&used| (used as f64 - expected).abs() < 5.0 * expected.sqrt()));
        } else {
            assert!(
                used.iter().all(|&used| used == 1),
                "{name} is linear: its seed moves all of them together"
            );
        }
    }
}

/// Each bit of a key changes each bit of the bucket number with probability 1/2.
#[test]
fn every_bit_of_a_key_changes_every_bit_of_the_bucket_half_of_the_time() {
    const SAMPLES: u64 = 2000;
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state ^ state >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd)
    };
    let seed = Seed::new(DEFAULT_SEED);
    let mut worst = 0.0_f64;
    for words in [2, 5] {
        for bit in 0..words * 64 {
            let mut changes = [0_u32; 12];
            for _ in 0..SAMPLES {
                let one: [u64; 5] = std::array::from_fn(|_| random());
                let mut other = one;
                other[bit / 64] ^= 1 << (bit % 64);
                let make =
                    |w: [u64; 5]| if words == 2 { FlowKey::Short([w[0], w[1]]) } else { FlowKey::Long(w) };
                let difference = seed.hash64(&make(one)) ^ seed.hash64(&make(other));
                for (at, count) in changes.iter_mut().enumerate() {
                    *count += (difference >> at & 1) as u32;
                }
            }
            for count in changes {
                worst = worst.max((f64::from(count) / SAMPLES as f64 - 0.5).abs());
            }
        }
    }
    println!("avalanche: worst of 448 x 12 pairs is {worst:.4} from one half");
    // The standard deviation for one pair of bits is 0.0112; the largest of 5,376 is expected near four of these.
    assert!(worst < 5.5 * 0.0112, "{worst}");
}
