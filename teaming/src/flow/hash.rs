//! Hash functions for flow keys: the seeded hash that chooses the member, and Toeplitz, which adapters compute.
//!
//! The seeded hash is rapidhash V3 of the key's bytes with its default secrets, unrolled for the two key sizes.
//! `forward` calls it once for each packet whose member a hash chooses. Toeplitz is on the packet path only if adapter
//! hashes are used.

use crate::ids::FlowHash;

/// The seed without a configured one. It is the same on all hosts, so that a migrated VM keeps its members.
pub const DEFAULT_SEED: u64 = 0x4c42_464f_4558_5431;

const SECRETS: [u64; 3] = [0x2d35_8dcc_aa6c_78a5, 0x8bb8_4b93_962e_acc9, 0x4b33_a62e_d433_d4a3];
const FINISH: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// The fields that identify a flow, padded to one of two sizes. Words hold the key's bytes in little-endian order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlowKey {
    Short([u64; 2]),
    Long([u64; 5]),
}

impl FlowKey {
    /// The key as bytes, for tools and tests that compare hash implementations.
    pub fn bytes(&self) -> heapless::Vec<u8, 40> {
        let words: &[u64] = match self {
            Self::Short(words) => words,
            Self::Long(words) => words,
        };
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

/// Hashes `key` under `seed`.
#[inline]
pub fn hash(key: &FlowKey, seed: u64) -> FlowHash {
    Seed::new(seed).hash(key)
}

/// A seed, mixed in advance so that no packet has to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ mix(seed ^ SECRETS[2], SECRETS[1]))
    }

    /// The low half of `hash64`.
    #[inline(always)]
    pub fn hash(self, key: &FlowKey) -> FlowHash {
        let [a, b, c, d, ..] = self.hash64(key).to_le_bytes();
        FlowHash::new(u32::from_le_bytes([a, b, c, d]))
    }

    /// Hashes a Toeplitz value again, because its low bits alone may be unevenly distributed.
    pub fn rehash(self, value: u32) -> FlowHash {
        let [a, b, c, d, ..] = finish(u64::from(value), self.0 ^ 4, 4).to_le_bytes();
        FlowHash::new(u32::from_le_bytes([a, b, c, d]))
    }

    #[inline(always)]
    pub fn hash64(self, key: &FlowKey) -> u64 {
        match *key {
            FlowKey::Short([w0, w1]) => finish(w0, w1 ^ self.0 ^ 16, 16),
            FlowKey::Long([w0, w1, w2, w3, w4]) => {
                let first = mix(w0 ^ SECRETS[2], w1 ^ self.0);
                let second = mix(w2 ^ SECRETS[2], w3 ^ first);
                finish(w3 ^ 40, w4 ^ second, 40)
            }
        }
    }
}

#[inline]
const fn finish(a: u64, b: u64, length: u64) -> u64 {
    let (low, high) = multiply(a ^ SECRETS[1], b);
    mix(low ^ FINISH, high ^ SECRETS[1] ^ length)
}

/// The exclusive or of the two halves of the 128-bit product.
#[inline]
pub(crate) const fn mix(a: u64, b: u64) -> u64 {
    let (low, high) = multiply(a, b);
    low ^ high
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the two halves of the product")]
const fn multiply(a: u64, b: u64) -> (u64, u64) {
    let product = (a as u128).wrapping_mul(b as u128);
    (product as u64, (product >> 64) as u64)
}

/// The secret key of verifying-the-rss-hash-calculation.md.
pub const TOEPLITZ_SAMPLE_KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
    0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// Longest input for a 40-byte key, in bytes: two IPv6 addresses and two ports.
pub const TOEPLITZ_INPUT_MAX: usize = 36;

/// NdisHashFunctionToeplitz with one key, as a table indexed by half-octets of the input.
#[derive(Debug, Clone)]
pub struct Toeplitz {
    rows: [[u32; 16]; TOEPLITZ_INPUT_MAX * 2],
}

impl Toeplitz {
    pub const EMPTY: Self = Self { rows: [[0; 16]; TOEPLITZ_INPUT_MAX * 2] };

    /// The table of a key that is known at compile time.
    #[allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        reason = "evaluated at compile time; the lints are on only outside of tests"
    )]
    pub const fn of(key: &[u8; 40]) -> Self {
        let mut table = Self::EMPTY;
        let mut row = 0;
        while row < TOEPLITZ_INPUT_MAX * 2 {
            // The 40 key bits from this octet on; for the low half-octet they start four bits later.
            let (mut ahead, mut octet) = (0_u64, 0);
            while octet < 5 {
                ahead = ahead << 8 | if row / 2 + octet < 40 { key[row / 2 + octet] as u64 } else { 0 };
                octet += 1;
            }
            let mut value = 0;
            while value < 16 {
                let mut bit = 0;
                while bit < 4 {
                    if value & (8 >> bit) != 0 {
                        table.rows[row][value] ^= (ahead << (24 + bit + 4 * (row % 2)) >> 32) as u32;
                    }
                    bit += 1;
                }
                value += 1;
            }
            row += 1;
        }
        table
    }

    pub fn new(key: &[u8; 40]) -> Self {
        let mut table = Self::EMPTY;
        table.set_key(key);
        table
    }

    /// Fills the table in place: it is too large for a kernel stack.
    pub fn set_key(&mut self, key: &[u8; 40]) {
        let mut octets = key.iter().copied();
        let mut ahead = octets.by_ref().take(5).fold(0_u64, |word, octet| word << 8 | u64::from(octet));
        for pair in self.rows.as_chunks_mut::<2>().0 {
            // `ahead` holds 40 key bits: the windows of this octet's high half start at its bits 0-3, the low half's at
            // 4-7.
            let [high, low] = pair;
            fill_row(high, ahead);
            fill_row(low, ahead << 4);
            ahead = (ahead << 8 | u64::from(octets.next().unwrap_or(0))) & 0xff_ffff_ffff;
        }
    }

    /// The hash of `input`. Octets after the 36th have no key bits and are ignored.
    pub fn hash(&self, input: &[u8]) -> u32 {
        let pairs = self.rows.as_chunks::<2>().0;
        input
            .iter()
            .zip(pairs)
            .fold(0, |hash, (&octet, [high, low])| hash ^ pick(high, octet >> 4) ^ pick(low, octet))
    }
}

/// The table of `TOEPLITZ_SAMPLE_KEY`. `adapter_hash` tests whether an adapter uses this key; it is not assumed.
pub static TOEPLITZ_SAMPLE: Toeplitz = Toeplitz::of(&TOEPLITZ_SAMPLE_KEY);

/// Entry `n` of a row is the xor of the 32-bit key windows at the set bits of the half-octet `n`.
fn fill_row(row: &mut [u32; 16], ahead: u64) {
    for (value, entry) in (0_u64..).zip(row.iter_mut()) {
        *entry = [8, 4, 2, 1].iter().zip(0_u32..).filter(|(bit, _)| value & *bit != 0).fold(
            0,
            |sum, (_, shift)| {
                let [_, _, _, a, b, c, d, _] = (ahead << shift).to_be_bytes();
                sum ^ u32::from_be_bytes([a, b, c, d])
            },
        );
    }
}

fn pick(row: &[u32; 16], half_octet: u8) -> u32 {
    row.get(usize::from(half_octet & 15)).copied().unwrap_or(0)
}
