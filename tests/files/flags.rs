//! The driver's flag words against the constants of the Windows Driver Kit: the value behind each name, that no name of
//! a whole word is missing, and that bits without a name are kept.

use bitflags::Flags;
use lbfoext::kernel::sys::PoolFlags;
use lbfoext::ndis::raw::{
    CopyInfoFlags, DestinationBits, MdlFlags, NblFlags, NicFlags, PacketFilter, PortDestination,
    ReceiveFlags, ReportFilteredFlags, ReturnFlags, RwLockFlags, SendCompleteFlags, SendFlags,
};
use std::collections::BTreeMap;
use std::fmt::Debug;
use teaming::offload::capabilities::QueueMode;
use teaming::ports::port::Preserve;

/// The NDIS version that the driver is written for, as the table counts.
const VERSION: u32 = 640;

/// Value of each constant, and the NDIS version that brought it where that is later than 6.30.
fn constants() -> BTreeMap<&'static str, (u64, Option<u32>)> {
    let row = |line: &'static str| {
        let [name, value, later] = line.split(',').collect::<Vec<_>>().try_into().expect("three cells");
        let value = u64::from_str_radix(value.trim_start_matches("0x"), 16).expect("a number");
        (name, (value, later.parse().ok()))
    };
    include_str!("../data/flags.csv").lines().skip(1).map(row).collect()
}

/// One type: what stands before and behind its names in the header, and whether it has all of them.
struct Word {
    prefix: &'static str,
    suffix: &'static str,
    whole: bool,
    flags: Vec<(&'static str, u64)>,
}

fn word<F: Flags>(prefix: &'static str, suffix: &'static str, whole: bool) -> Word
where
    F::Bits: TryInto<u64, Error: Debug>,
{
    let value = |bits: F::Bits| bits.try_into().expect("no sign");
    let flags = F::FLAGS.iter().filter(|flag| flag.is_named());
    let flags = flags.map(|flag| (flag.name(), value(flag.value().bits()))).collect();
    Word { prefix, suffix, whole, flags }
}

fn words() -> [Word; 13] {
    [
        word::<SendFlags>("NDIS_SEND_FLAGS_", "", true),
        word::<SendCompleteFlags>("NDIS_SEND_COMPLETE_FLAGS_", "", true),
        word::<ReceiveFlags>("NDIS_RECEIVE_FLAGS_", "", true),
        word::<ReturnFlags>("NDIS_RETURN_FLAGS_", "", true),
        word::<NblFlags>("NDIS_NBL_FLAGS_", "", true),
        word::<NicFlags>("NDIS_SWITCH_NIC_FLAGS_", "", true),
        word::<CopyInfoFlags>("NDIS_SWITCH_COPY_NBL_INFO_FLAGS_", "", true),
        word::<ReportFilteredFlags>("NDIS_SWITCH_REPORT_FILTERED_NBL_FLAGS_", "", true),
        word::<RwLockFlags>("NDIS_RWL_", "", true),
        word::<QueueMode>("NDIS_RECEIVE_FILTER_IMPLAT_", "_MODE", true),
        word::<PacketFilter>("NDIS_PACKET_TYPE_", "", false),
        word::<MdlFlags>("MDL_", "", false),
        word::<PoolFlags>("POOL_FLAG_", "", false),
    ]
}

#[test]
fn every_flag_has_the_name_and_value_of_a_constant() {
    let constants = constants();
    for Word { prefix, suffix, flags, .. } in words() {
        assert!(!flags.is_empty(), "{prefix}");
        for (flag, value) in flags {
            let name = format!("{prefix}{flag}{suffix}");
            assert_eq!(constants.get(&*name).map(|(value, _)| *value), Some(value), "{name}");
        }
    }
}

#[test]
fn no_flag_of_a_whole_word_is_missing() {
    for Word { prefix, suffix, flags, .. } in words().into_iter().filter(|word| word.whole) {
        for (name, (_, since)) in constants() {
            let Some(flag) = name.strip_prefix(prefix).and_then(|name| name.strip_suffix(suffix)) else {
                continue;
            };
            let known = flags.iter().any(|(name, _)| *name == flag);
            assert_eq!(known, since.is_none_or(|since| since <= VERSION), "{name}");
        }
    }
}

#[test]
fn what_a_destination_keeps_has_the_bits_of_the_switch() {
    // The bit fields of the structure, counted from the first.
    let bits = |bits: DestinationBits| PortDestination { bits, ..PortDestination::ZERO }.bits.bits();
    assert_eq!(bits(DestinationBits::IS_EXCLUDED), 1);
    assert_eq!(bits(DestinationBits::PRESERVE_VLAN), u16::from(Preserve::VLAN.bits()));
    assert_eq!(bits(DestinationBits::PRESERVE_PRIORITY), u16::from(Preserve::PRIORITY.bits()));
}

#[test]
fn bits_that_nobody_here_knows_stay_through_every_operator() {
    fn hold<F: Flags<Bits = u32> + Copy>(known: F) {
        let (mut flags, all) = (F::from_bits_retain(!known.bits()), F::from_bits_retain(!0));
        assert_eq!((known.complement().bits(), F::all().bits()), (!known.bits(), !0));
        assert_eq!(all.difference(known).bits(), !known.bits());
        assert_eq!(F::from_bits_truncate(!0).bits(), !0);
        flags.insert(known);
        assert_eq!(flags.bits(), !0);
        flags.remove(known);
        assert_eq!(flags.bits(), !known.bits());
    }
    hold(SendFlags::DISPATCH_LEVEL);
    hold(SendCompleteFlags::SINGLE_QUEUE);
    hold(ReceiveFlags::RESOURCES);
    hold(ReturnFlags::SWITCH_SINGLE_SOURCE);
    hold(NblFlags::HD_SPLIT);
    hold(NicFlags::NIC_SUSPENDED);
    hold(CopyInfoFlags::PRESERVE_DESTINATIONS);
    hold(ReportFilteredFlags::IS_INCOMING);
    hold(PacketFilter::PROMISCUOUS);
    hold(QueueMode::SUM_OF_QUEUES);
}

#[test]
fn a_completion_is_told_what_the_sending_was_told_and_no_more() {
    let completion = |flags: u32| SendFlags::from_bits_retain(flags).completion();
    assert_eq!(completion(0), SendCompleteFlags::empty());
    assert_eq!(completion(0x1), SendCompleteFlags::DISPATCH_LEVEL);
    assert_eq!(completion(0x20), SendCompleteFlags::SWITCH_SINGLE_SOURCE);
    assert_eq!(completion(!0).bits(), 0x5, "the numbers of one direction mean something else in the other");
    assert_eq!(completion(!0x21), SendCompleteFlags::empty());
}
