//! The flow hash against an independent implementation, Toeplitz against the published values.

use proptest::prelude::*;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};
use teaming::flow::FlowKey;
use teaming::flow::hash::{DEFAULT_SEED, Seed, TOEPLITZ_SAMPLE_KEY, Toeplitz, hash};
use teaming::ids::{Bucket, FlowHash};

fn any_key() -> impl Strategy<Value = FlowKey> {
    prop_oneof![any::<[u64; 2]>().prop_map(FlowKey::Short), any::<[u64; 5]>().prop_map(FlowKey::Long)]
}

fn oracle(key: &FlowKey, seed: u64) -> u64 {
    rapidhash_v3_seeded(&key.bytes(), &RapidSecrets::seed_cpp(seed))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_flow_hash_is_rapidhash_of_the_key_bytes(key in any_key(), seed in any::<u64>()) {
        let expected = oracle(&key, seed);
        prop_assert_eq!(Seed::new(seed).hash64(&key), expected);
        prop_assert_eq!(hash(&key, seed), FlowHash::new(expected as u32));
        prop_assert_eq!(usize::from(hash(&key, seed).bucket().get()), expected as usize % 4096);
    }
}

#[test]
fn the_table_made_at_compile_time_is_the_one_made_from_the_key() {
    let made = Toeplitz::new(&TOEPLITZ_SAMPLE_KEY);
    for at in 0..36 {
        for octet in 0..=255 {
            let mut input = [0; 36];
            input[at] = octet;
            assert_eq!(teaming::flow::hash::TOEPLITZ_SAMPLE.hash(&input), made.hash(&input));
        }
    }
}

#[test]
fn the_corner_keys_hash_like_rapidhash_too() {
    for word in [0, 1, u64::MAX, 1 << 63] {
        for seed in [0, DEFAULT_SEED, u64::MAX] {
            for key in [FlowKey::Short([word; 2]), FlowKey::Long([word; 5])] {
                assert_eq!(Seed::new(seed).hash64(&key), oracle(&key, seed));
            }
        }
    }
}

/// Flows that differ only in one port, as the connections of a client do, are distributed like random ones.
#[test]
fn consecutive_ports_fill_the_buckets_evenly() {
    let mut counts = [0_u32; 4096];
    for port in 0..=u16::MAX {
        let tail = u64::from(port.swap_bytes()) << 16 | 6 << 32 | 1 << 40;
        let bucket: Bucket = hash(&FlowKey::Short([0x0200_000a_0100_000a, tail]), DEFAULT_SEED).bucket();
        counts[bucket.index()] += 1;
    }
    // 65,536 flows in 4,096 buckets: chi-square has mean 4,095 and standard deviation 90; five deviations are allowed.
    let chi_square: f64 = counts.iter().map(|&count| (f64::from(count) - 16.0).powi(2) / 16.0).sum();
    assert!((3645.0..4545.0).contains(&chi_square), "{chi_square}");
}

struct Row {
    input: &'static str,
    addresses: u32,
    ports: u32,
    reversed: (u32, u32),
    symmetric: (u32, u32),
}

/// Rows of verifying-the-rss-hash-calculation.md; the columns reversed and symmetric are computed with its algorithm.
const ROWS: [Row; 8] = [
    Row {
        input: "420995bba18e64500aea06e6",
        addresses: 0x323e_8fc2,
        ports: 0x51cc_c178,
        reversed: (0xba45_587e, 0xfde7_99b2),
        symmetric: (0x0a59_0a59, 0x9fcc_9fcc),
    },
    Row {
        input: "c75c6f0241458c5337961283",
        addresses: 0xd718_262a,
        ports: 0xc626_b0ea,
        reversed: (0x6fbc_ad07, 0xe53c_74e8),
        symmetric: (0x7ba9_7ba9, 0x60d7_60d7),
    },
    Row {
        input: "1813c65f0c16cfb832629488",
        addresses: 0xd2d0_a5de,
        ports: 0x5c2b_394a,
        reversed: (0xf6e0_2bf3, 0xa802_b849),
        symmetric: (0xa55a_a55a, 0x3a3e_3a3e),
    },
    Row {
        input: "261bcd1ed18ea306bc6408a9",
        addresses: 0x8298_9176,
        ports: 0xafc7_327f,
        reversed: (0xa772_8522, 0xe1df_cdff),
        symmetric: (0xf8a7_f8a7, 0xd26e_d26e),
    },
    Row {
        input: "9927a3bfcabc7f02acdb0517",
        addresses: 0x5d18_09c5,
        ports: 0x10e8_28a2,
        reversed: (0xc197_330c, 0x15d0_5e13),
        symmetric: (0x5754_5754, 0xf23e_f23e),
    },
    Row {
        input: "3ffe250102001fff00000000000000073ffe25010200000300000000000000010aea06e6",
        addresses: 0x2cc1_8cd5,
        ports: 0x4020_7d3d,
        reversed: (0xbf3b_2ab5, 0x1ac0_fcce),
        symmetric: (0x867e_867e, 0x13eb_13eb),
    },
    Row {
        input: "3ffe050100080000026097fffe40efabff02000000000000000000000000000137961283",
        addresses: 0x0f0c_461c,
        ports: 0xdde5_1bbf,
        reversed: (0x39ea_faa7, 0xe0f7_edc9),
        symmetric: (0x2def_2def, 0x3691_3691),
    },
    Row {
        input: "3ffe1900454500030200f8fffe2167cffe800000000000000200f8fffe2167cfacdb9488",
        addresses: 0x4b61_e985,
        ports: 0x02d1_feef,
        reversed: (0x2d43_81a5, 0xd1be_c7ad),
        symmetric: (0xc85e_c85e, 0x0809_0809),
    },
];

fn octets(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Source and destination exchanged, addresses and ports.
fn reversed(input: &[u8]) -> Vec<u8> {
    let (addresses, ports) = input.split_at(input.len() - 4);
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    [destination, source, &ports[2..], &ports[..2]].concat()
}

#[test]
fn toeplitz_gives_every_published_answer() {
    let sample = Toeplitz::new(&TOEPLITZ_SAMPLE_KEY);
    let symmetric = Toeplitz::new(&std::array::from_fn(|at| if at % 2 == 0 { 0x6d } else { 0x5a }));
    let both = |table: &Toeplitz, input: &[u8]| (table.hash(&input[..input.len() - 4]), table.hash(input));
    for row in ROWS {
        let input = octets(row.input);
        assert_eq!(both(&sample, &input), (row.addresses, row.ports), "{}", row.input);
        assert_eq!(both(&sample, &reversed(&input)), row.reversed, "{}", row.input);
        assert_eq!(both(&symmetric, &input), row.symmetric, "{}", row.input);
        assert_eq!(both(&symmetric, &reversed(&input)), row.symmetric, "{}", row.input);
    }
}

#[test]
fn toeplitz_of_single_bits_is_the_key_from_there() {
    let table = Toeplitz::new(&TOEPLITZ_SAMPLE_KEY);
    assert_eq!(table.hash(&[]), 0);
    assert_eq!(table.hash(&[0; 36]), 0);
    assert_eq!(table.hash(&[0x80]), 0x6d5a_56da);
    assert_eq!(table.hash(&[0x40]), 0xdab4_adb4);
}

/// Toeplitz by its definition, bit by bit.
fn toeplitz_by_bits(key: &[u8; 40], input: &[u8]) -> u32 {
    let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
    (0..input.len() * 8)
        .filter(|&at| bit(input, at) == 1)
        .map(|at| (at..at + 32).fold(0, |window, at| window << 1 | u32::from(bit(key, at))))
        .fold(0, |hash, window| hash ^ window)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn toeplitz_equals_its_definition(
        key in prop::collection::vec(any::<u8>(), 40),
        input in prop::collection::vec(any::<u8>(), 0..=36),
    ) {
        let key: [u8; 40] = key.try_into().unwrap();
        prop_assert_eq!(Toeplitz::new(&key).hash(&input), toeplitz_by_bits(&key, &input));
    }
}
