//! Vendor-private OIDs that an administrator has the driver send to one adapter: which numbers and how many bytes are
//! accepted, and how a changed list is told from one that has been sent.

use crate::oid::RequestType;

/// The first number that vendors give to OIDs of their own. No OID of NDIS is among these, so none that NDIS keeps for the
/// next start of the adapter.
pub const FIRST: u32 = 0xFF00_0000;
/// Entries of one adapter: the registry values `Oid1`, `Type1` and `Data1` to `Oid8`, `Type8` and `Data8`.
pub const ENTRIES: u8 = 8;
/// Bytes of one entry, and of the buffer that a query or method is given for its answer.
pub const BYTES_MAX: usize = 256;
/// Bytes of an answer that are recorded.
pub const FIRST_BYTES: usize = 8;

/// The kind of request of an entry; `None` if it is none. Without a value it is a set.
pub const fn kind(value: Option<u64>) -> Option<RequestType> {
    match value {
        None | Some(0) => Some(RequestType::Set),
        Some(1) => Some(RequestType::Query),
        Some(2) => Some(RequestType::Method),
        Some(_) => None,
    }
}

/// The beginning of an answer, filled up with zeros.
pub fn first_bytes(answer: &[u8]) -> [u8; FIRST_BYTES] {
    let mut first = [0; FIRST_BYTES];
    for (place, byte) in first.iter_mut().zip(answer) {
        *place = *byte;
    }
    first
}

/// The number of an entry's OID; `None` if it is not a vendor's.
pub fn number(value: u64) -> Option<u32> {
    u32::try_from(value).ok().filter(|&oid| oid >= FIRST)
}

/// A digest of a list of entries, one after the other. Lists that differ have different digests but for one in 2^64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    pub const EMPTY: Self = Self(0);

    #[must_use]
    pub fn and(self, kind: RequestType, oid: u32, data: &[u8]) -> Self {
        let kind: u64 = match kind {
            RequestType::Set => 0,
            RequestType::Query => 1 << 32,
            RequestType::Method => 2 << 32,
        };
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX) ^ kind;
        let head = crate::flow::hash::mix(
            self.0 ^ u64::from(oid) ^ 0x9e37_79b9_7f4a_7c15,
            length ^ 0xa076_1d64_78bd_642f,
        );
        Self(data.chunks(8).fold(head, |digest, chunk| {
            let mut word = [0; 8];
            for (place, byte) in word.iter_mut().zip(chunk) {
                *place = *byte;
            }
            crate::flow::hash::mix(digest ^ u64::from_le_bytes(word), 0xe703_7ed1_a0b4_28db)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_of_vendors_are_taken() {
        assert_eq!(number(0xFF00_0000), Some(0xFF00_0000));
        assert_eq!(number(0xFFFF_FFFF), Some(0xFFFF_FFFF));
        for other in [0, 0x0001_0106, 0x0101_0103, 0xFEFF_FFFF, 0x1_FF00_0000, u64::MAX] {
            assert_eq!(number(other), None, "{other:#x}");
        }
    }

    #[test]
    fn the_kind_of_a_request_is_a_set_unless_it_is_said() {
        let all = [RequestType::Set, RequestType::Set, RequestType::Query, RequestType::Method];
        let values = [None, Some(0), Some(1), Some(2)];
        assert_eq!(values.map(kind), all.map(Some));
        for other in [3, 1 << 32, u64::MAX] {
            assert_eq!(kind(Some(other)), None, "{other}");
        }
    }

    #[test]
    fn the_beginning_of_an_answer_is_kept_however_long_it_is() {
        assert_eq!(first_bytes(&[]), [0; 8]);
        assert_eq!(first_bytes(&[1, 2]), [1, 2, 0, 0, 0, 0, 0, 0]);
        assert_eq!(first_bytes(&[7; 256]), [7; 8]);
    }

    #[test]
    fn a_digest_tells_lists_apart_by_kind_number_length_bytes_and_order() {
        use RequestType::{Method, Query, Set};
        let one = |oid, data: &[u8]| Digest::EMPTY.and(Set, oid, data);
        let lists = [
            Digest::EMPTY.and(Query, FIRST, &[]),
            Digest::EMPTY.and(Method, FIRST, &[]),
            Digest::EMPTY,
            one(FIRST, &[]),
            one(FIRST, &[0]),
            one(FIRST, &[0, 0]),
            one(FIRST, &[0; 8]),
            one(FIRST, &[0; 9]),
            one(FIRST, &[1]),
            one(FIRST + 1, &[1]),
            one(FIRST, &[1]).and(Set, FIRST + 1, &[2]),
            one(FIRST + 1, &[2]).and(Set, FIRST, &[1]),
        ];
        for (at, list) in lists.iter().enumerate() {
            assert!(!lists[..at].contains(list), "{at}");
        }
        assert_eq!(one(FIRST, &[1, 2, 3]), one(FIRST, &[1, 2, 3]));
    }
}
