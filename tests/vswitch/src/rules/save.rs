//! The rules of saves and restores.

use super::Severity::Error;
use super::{Rule, error, not, switch, warning};

/// Group SAVE.
pub const SAVE: &[Rule] = &[
    switch(
        "SAVE-01",
        "NIC_SAVE is a method request; its NicIndex is 0 and its PortId names the port.",
        "ns-ntddndis-_ndis_switch_nic_save_state",
    ),
    error(
        "SAVE-02",
        "With nothing to save, the request is passed on and its buffer stays as it is.",
        "oid-switch-nic-save",
    ),
    error(
        "SAVE-03",
        "Data that fits is written at SaveDataOffset, the request is completed with SUCCESS and not passed \
         on.",
        "managing-hyper-v-extensible-switch-run-time-data",
    ),
    error(
        "SAVE-04",
        "Data that does not fit is answered with BUFFER_TOO_SHORT and enough BytesNeeded; nothing is \
         written.",
        "oid-switch-nic-save",
    ),
    switch(
        "SAVE-05",
        "After BUFFER_TOO_SHORT the switch repeats the request with the room that was asked for.",
        "hyper-v-extensible-switch-save-operations",
    ),
    error(
        "SAVE-06",
        "What is saved may grow between two rounds: it is measured anew and never overflows the buffer.",
        "inference",
    ),
    switch(
        "SAVE-07",
        "The switch repeats NIC_SAVE until one reaches the miniport edge, then sends SAVE_COMPLETE.",
        "managing-hyper-v-extensible-switch-run-time-data",
    ),
    error(
        "SAVE-08",
        "A record is handed out once in a save; afterwards the request is passed on.",
        "managing-hyper-v-extensible-switch-run-time-data",
    ),
    error("SAVE-09", "SAVE_COMPLETE ends a save: the next one hands out a record again.", "inference"),
    error(
        "SAVE-10",
        "ExtensionId of a record is the extension's own, the same everywhere and always.",
        "managing-hyper-v-extensible-switch-run-time-data",
    ),
    error(
        "SAVE-11",
        "ExtensionFriendlyName of a record is a counted string in bytes, without a terminator.",
        "managing-hyper-v-extensible-switch-run-time-data",
    ),
    error(
        "SAVE-12",
        "FeatureClassId of a record is an own class, or zero.",
        "managing-hyper-v-extensible-switch-run-time-data",
    ),
    error(
        "SAVE-13",
        "SaveDataSize is what was written; header, flags, port, index and SaveDataOffset stay.",
        "managing-hyper-v-extensible-switch-run-time-data",
    ),
    error(
        "SAVE-14",
        "BytesWritten of a save is SaveDataOffset and SaveDataSize together.",
        "nc-ndis-filter_oid_request",
    ),
    warning(
        "SAVE-15",
        "No failure but BUFFER_TOO_SHORT: any other ends the save of the NIC and a live migration with it.",
        "oid-switch-nic-save",
    ),
    error(
        "SAVE-16",
        "SAVE_COMPLETE and RESTORE_COMPLETE are passed on unchanged.",
        "oid-switch-nic-save-complete",
    ),
    switch(
        "SAVE-17",
        "Saves of one NIC do not overlap; those of different NICs may.",
        "hyper-v-extensible-switch-save-operations",
    ),
    error(
        "SAVE-18",
        "What a save or restore remembers is kept for each NIC.",
        "hyper-v-extensible-switch-restore-operations",
    ),
    error(
        "SAVE-19",
        "A record with the own ExtensionId is taken and completed with SUCCESS; any other is passed on \
         unchanged.",
        "hyper-v-extensible-switch-restore-operations",
    ),
    error(
        "SAVE-20",
        "A record is checked before it is used: it comes from another host and perhaps another version.",
        "inference",
    ),
    error(
        "SAVE-21",
        "A record applies to the port that the restore names, which may be another than at the save.",
        "hyper-v-extensible-switch-restore-operations",
    ),
    warning(
        "SAVE-22",
        "A restore is not failed for data that the extension can do without.",
        "oid-switch-nic-restore",
    ),
    switch(
        "SAVE-23",
        "Each saved record is restored once, then RESTORE_COMPLETE follows; own records do not reach the \
         miniport edge.",
        "managing-hyper-v-extensible-switch-run-time-data",
    ),
    error(
        "SAVE-24",
        "Several records of one NIC are restored one by one, in any order.",
        "managing-hyper-v-extensible-switch-run-time-data",
    ),
    error(
        "SAVE-25",
        "A restore may come before or after the NIC is connected; for an unknown port it does no harm.",
        "hyper-v-extensible-switch-live-migration-support",
    ),
    switch(
        "SAVE-26",
        "A live migration checks policies on the target, saves, removes the NIC here, connects it there \
         and restores.",
        "hyper-v-extensible-switch-live-migration-support",
    ),
    error(
        "SAVE-27",
        "In a structure of revision 2, SaveDataSizeOverflow counts beyond SaveDataSize; small records \
         leave it.",
        "ntddndis.h",
    ),
    warning(
        "SAVE-28",
        "A record is small, and never larger than the structure can carry.",
        "ns-ntddndis-_ndis_switch_nic_save_state",
    ),
    not(
        "SAVE-29",
        Error,
        "A save changes nothing in the forwarding: the VM may run on.",
        "hyper-v-extensible-switch-save-and-restore-operations",
        "what happens to packets after a save is held by the same rules as before it",
    ),
];
