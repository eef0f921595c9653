//! The numbers of the switch as types of their own, so that a port is never taken for an index.
//!
//! Built by checked constructors, all `Copy`. Used by every other module; holds no behaviour beyond its numbers.

use core::fmt;
use core::num::{NonZero, NonZeroU8};

/// Members a team can have: the physical NIC indexes 1 to 32 (network-adapter-index-values.md).
pub const MEMBERS: usize = 32;

/// Buckets of the distribution table. 4096 is the smallest size at which one bucket is a small enough share.
pub const BUCKETS: usize = 4096;

/// A port of the switch. Port 0 is the default port: packets from it are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PortId(u32);

impl PortId {
    pub const DEFAULT: Self = Self(0);

    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The index of a NIC on its port; on the external port 1 to 32 are the physical adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NicIndex(u16);

impl NicIndex {
    pub const DEFAULT: Self = Self(0);

    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    pub const fn get(self) -> u16 {
        self.0
    }
}

/// One network adapter of the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NicId {
    pub port: PortId,
    pub index: NicIndex,
}

impl NicId {
    pub const fn new(port: PortId, index: NicIndex) -> Self {
        Self { port, index }
    }
}

impl fmt::Display for NicId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.port.0, self.index.0)
    }
}

/// What HyperVPort hashes for a NIC: an id and a seat, in one word. Seat 0 hashes as the id alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HashId(u64);

impl HashId {
    pub const fn new(nic: NicId, seat: u16) -> Self {
        Self(nic.port.get() as u64 | (nic.index.get() as u64) << 32 | (seat as u64) << 48)
    }

    /// The word that is hashed.
    #[inline(always)]
    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    pub const fn nic(self) -> NicId {
        let [a, b, c, d, e, f, _, _] = self.0.to_le_bytes();
        NicId::new(PortId::new(u32::from_le_bytes([a, b, c, d])), NicIndex::new(u16::from_le_bytes([e, f])))
    }

    pub const fn seat(self) -> u16 {
        let [.., low, high] = self.0.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    pub const fn with_seat(self, seat: u16) -> Self {
        Self::new(self.nic(), seat)
    }
}

impl From<NicId> for HashId {
    fn from(nic: NicId) -> Self {
        Self::new(nic, 0)
    }
}

impl fmt::Debug for HashId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, seat {}", self.nic(), self.seat())
    }
}

/// What the operating system calls a physical adapter: its NetCfgInstanceId, a GUID as it lies in memory. All zeros while
/// it is not known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AdapterId([u8; 16]);

/// The place in a GUID's text of the first of each byte's two digits: Data1, Data2 and Data3 are little-endian.
const DIGITS: [usize; 16] = [7, 5, 3, 1, 12, 10, 17, 15, 20, 22, 25, 27, 29, 31, 33, 35];

impl AdapterId {
    pub const UNKNOWN: Self = Self([0; 16]);

    pub const fn new(guid: [u8; 16]) -> Self {
        Self(guid)
    }

    pub const fn get(self) -> [u8; 16] {
        self.0
    }

    /// As the registry writes it: `{6E3C2C0F-5A0B-4C55-9E0E-7B1B8B1F5D21}`.
    pub fn text(self) -> [u8; 38] {
        let mut text = *b"{00000000-0000-0000-0000-000000000000}";
        for (byte, at) in self.0.into_iter().zip(DIGITS) {
            for (place, digit) in text.iter_mut().skip(at).zip([byte >> 4, byte & 0xF]) {
                *place = if digit < 10 { digit.wrapping_add(b'0') } else { digit.wrapping_add(b'A' - 10) };
            }
        }
        text
    }

    /// The adapter of such a text, in capital or small letters.
    pub fn parse(text: &[u16]) -> Option<Self> {
        let text: &[u16; 38] = text.try_into().ok()?;
        let mut guid = [0; 16];
        for (byte, at) in guid.iter_mut().zip(DIGITS) {
            let digit = |at: usize| char::from_u32(u32::from(*text.get(at)?))?.to_digit(16);
            *byte = u8::try_from(digit(at)? << 4 | digit(at.wrapping_add(1))?).ok()?;
        }
        let adapter = Self(guid);
        // The braces and hyphens are where they belong.
        let same = |(unit, byte): (&u16, u8)| {
            char::from_u32(u32::from(*unit)).is_some_and(|c| c.to_ascii_uppercase() == char::from(byte))
        };
        text.iter().zip(adapter.text()).all(same).then_some(adapter)
    }
}

impl fmt::Display for AdapterId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(core::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for AdapterId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A team member: a physical adapter, numbered 1 to 32 like its NIC index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberIndex(NonZeroU8);

impl MemberIndex {
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(valid) if number <= 32 => Some(Self(valid)),
            _ => None,
        }
    }

    pub fn from_nic(index: NicIndex) -> Option<Self> {
        Self::new(u8::try_from(index.0).ok()?)
    }

    pub fn from_slot(slot: usize) -> Option<Self> {
        Self::new(u8::try_from(slot).ok()?.checked_add(1)?)
    }

    pub fn nic(self) -> NicIndex {
        NicIndex(u16::from(self.0.get()))
    }

    /// Position 0 to 31 in an array over members.
    pub fn slot(self) -> usize {
        usize::from(self.0.get().wrapping_sub(1) & 31)
    }

    pub const fn get(self) -> u8 {
        self.0.get()
    }

    const fn bit(self) -> u32 {
        1_u32.wrapping_shl(self.0.get().wrapping_sub(1) as u32)
    }
}

impl fmt::Display for MemberIndex {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A set of members; bit 0 is member 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MemberSet(u32);

impl MemberSet {
    pub const EMPTY: Self = Self(0);
    /// Every member that a team can have.
    pub const ALL: Self = Self(u32::MAX);

    #[must_use]
    pub const fn with(self, member: MemberIndex) -> Self {
        Self(self.0 | member.bit())
    }

    #[must_use]
    pub const fn without(self, member: MemberIndex) -> Self {
        Self(self.0 & !member.bit())
    }

    /// The members of `self` that are not in `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub const fn contains(self, member: MemberIndex) -> bool {
        self.0 & member.bit() != 0
    }

    /// Whether the member with this number, at most 63, belongs to it; 0 is nobody's.
    pub const fn has_number(self, number: u8) -> bool {
        ((self.0 as u64) << 1).wrapping_shr(number as u32) & 1 != 0
    }

    pub const fn is_subset(self, of: Self) -> bool {
        self.0 & !of.0 == 0
    }

    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn bits(self) -> u32 {
        self.0
    }

    /// In ascending order.
    pub fn iter(self) -> impl Iterator<Item = MemberIndex> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let slot = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            MemberIndex::from_slot(usize::try_from(slot).ok()?)
        })
    }
}

impl FromIterator<MemberIndex> for MemberSet {
    fn from_iter<I: IntoIterator<Item = MemberIndex>>(members: I) -> Self {
        members.into_iter().fold(Self::EMPTY, Self::with)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    pub const ZERO: Self = Self([0; 6]);
    pub const BROADCAST: Self = Self([0xff; 6]);

    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// The group bit: true for broadcast too.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// The number of a group whose frames a bridge keeps to their link: 0 to 15 for 01-80-C2-00-00-00 to -0F (IEEE 802.1Q,
    /// 8.6.3), 16 for 01-00-0C-CC-CC-CD (per-VLAN spanning tree).
    pub const fn link_local(self) -> Option<u8> {
        match self.0 {
            [0x01, 0x80, 0xc2, 0x00, 0x00, number @ 0x00..=0x0f] => Some(number),
            [0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd] => Some(16),
            _ => None,
        }
    }

    /// The six octets as the low 48 bits of a word, first octet lowest.
    pub const fn word(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

/// Link-local groups, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkLocalSet(u32);

impl LinkLocalSet {
    pub const EMPTY: Self = Self(0);

    /// Bit n is group n.
    pub const fn from_mask(mask: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "there are 17 groups")]
        Self(mask as u32)
    }

    pub const fn contains(self, number: u8) -> bool {
        number < 32 && self.0 & 1 << number != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}-{b:02x}-{c:02x}-{d:02x}-{e:02x}-{f:02x}")
    }
}

/// A VLAN that frames can be in: 1 to 4094. Tags with 0 carry a priority only, 4095 is reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId(NonZero<u16>);

impl VlanId {
    pub const fn new(number: u16) -> Option<Self> {
        match NonZero::new(number) {
            Some(number) if number.get() <= 4094 => Some(Self(number)),
            _ => None,
        }
    }

    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

/// What remains of a flow key: all that the distribution sees of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowHash(u32);

impl FlowHash {
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    pub const fn get(self) -> u32 {
        self.0
    }

    /// The low 12 bits: the hash ends in a full mix, so all its bits are equally good.
    pub const fn bucket(self) -> Bucket {
        let [low, high, _, _] = self.0.to_le_bytes();
        Bucket(u16::from_le_bytes([low, high & 0x0f]))
    }
}

/// A row of the distribution table: 0 to `BUCKETS` - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    pub(crate) const FIRST: Self = Self(0);

    pub const fn new(number: u16) -> Option<Self> {
        match number {
            0..=4095 => Some(Self(number)),
            _ => None,
        }
    }

    pub const fn get(self) -> u16 {
        self.0
    }

    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Time in units of 100 ns since some start that only the caller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticks(u64);

impl Ticks {
    pub const ZERO: Self = Self(0);

    pub const fn new(ticks: u64) -> Self {
        Self(ticks)
    }

    pub const fn from_us(microseconds: u64) -> Self {
        Self(microseconds.saturating_mul(10))
    }

    pub const fn from_ms(milliseconds: u64) -> Self {
        Self(milliseconds.saturating_mul(10_000))
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    pub const fn as_us(self) -> u64 {
        self.0 / 10
    }

    #[must_use]
    pub const fn saturating_add(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span from `start` to `self`; zero when `start` is later.
    #[must_use]
    pub const fn since(self, start: Self) -> Self {
        Self(self.0.saturating_sub(start.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn members_are_one_to_thirty_two() {
        assert_eq!(MemberIndex::new(0), None);
        assert_eq!(MemberIndex::new(33), None);
        assert_eq!(MemberIndex::from_nic(NicIndex::new(256 + 1)), None);
        for number in 1..=32_u8 {
            let member = MemberIndex::new(number).unwrap();
            assert_eq!(member.slot(), usize::from(number) - 1);
            assert_eq!(MemberIndex::from_slot(member.slot()), Some(member));
            assert_eq!(MemberIndex::from_nic(member.nic()), Some(member));
        }
        assert_eq!(core::mem::size_of::<Option<MemberIndex>>(), 1);
    }

    #[test]
    fn a_set_lists_its_members_in_ascending_order() {
        let numbers = [32_u8, 1, 17, 2];
        let set: MemberSet = numbers.iter().filter_map(|&number| MemberIndex::new(number)).collect();
        let listed: Vec<u8> = set.iter().map(MemberIndex::get).collect();
        assert_eq!(listed, [1, 2, 17, 32]);
        assert_eq!(set.len(), 4);
        let two = MemberIndex::new(2).unwrap();
        assert!(!set.without(two).contains(two));
        assert!(set.without(two).is_subset(set));
        assert!(!set.is_subset(set.without(two)));
    }

    #[test]
    fn only_the_sixteen_bridge_addresses_and_that_of_spanning_trees_per_vlan_are_link_local() {
        for number in 0..=15 {
            assert_eq!(MacAddr([0x01, 0x80, 0xc2, 0, 0, number]).link_local(), Some(number));
        }
        assert_eq!(MacAddr([0x01, 0, 0x0c, 0xcc, 0xcc, 0xcd]).link_local(), Some(16));
        for other in [[0x01, 0x80, 0xc2, 0, 0, 0x10], [0x01, 0, 0x0c, 0xcc, 0xcc, 0xcc], [0xff; 6]] {
            assert_eq!(MacAddr(other).link_local(), None);
        }
    }

    #[test]
    fn an_adapter_is_named_as_the_registry_names_it() {
        let guid =
            [0x0F, 0x2C, 0x3C, 0x6E, 0x0B, 0x5A, 0x55, 0x4C, 0x9E, 0x0E, 0x7B, 0x1B, 0x8B, 0x1F, 0x5D, 0x21];
        let text = "{6E3C2C0F-5A0B-4C55-9E0E-7B1B8B1F5D21}";
        assert_eq!(std::format!("{0} {0:?}", AdapterId::new(guid)), std::format!("{text} {text}"));
    }

    #[test]
    fn the_text_of_an_adapter_is_read_back_and_no_other_text_is_one() {
        let units = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
        let text = "{6E3C2C0F-5A0B-4C55-9E0E-7B1B8B1F5D21}";
        let adapter = AdapterId::parse(&units(text)).unwrap();
        assert_eq!(std::format!("{adapter}"), text);
        assert_eq!(AdapterId::parse(&units(&text.to_lowercase())), Some(adapter));
        for at in 0..text.len() {
            for other in ["g", " ", "{", "\u{661}", "\u{ff21}"] {
                let wrong = [&text[..at], other, &text[at + 1..]].concat();
                if wrong != text {
                    assert_eq!(AdapterId::parse(&units(&wrong)), None, "{wrong}");
                }
            }
            assert_eq!(AdapterId::parse(&units(&text[..at])), None);
        }
        assert_eq!(AdapterId::parse(&units(&std::format!("{text}0"))), None);
    }

    #[test]
    fn spans_saturate_instead_of_wrapping() {
        assert_eq!(Ticks::from_ms(1).since(Ticks::from_ms(2)), Ticks::ZERO);
        assert_eq!(Ticks::new(u64::MAX).saturating_add(Ticks::from_us(1)), Ticks::new(u64::MAX));
        assert_eq!(Ticks::from_ms(2), Ticks::from_us(2000));
    }
}
