//! What a trace event is described with (evntprov.h), which is no structure of NDIS.

use super::abi;

abi! {
    "EVENT_DESCRIPTOR" 16 => EventDescriptor {
        id: u16 = "Id" @ 0,
        version: u8 = "Version" @ 2,
        channel: u8 = "Channel" @ 3,
        level: u8 = "Level" @ 4,
        opcode: u8 = "Opcode" @ 5,
        task: u16 = "Task" @ 6,
        keyword: u64 = "Keyword" @ 8,
    }
}

abi! {
    "EVENT_DATA_DESCRIPTOR" 16 => EventDataDescriptor {
        pointer: u64 = "Ptr" @ 0,
        size: u32 = "Size" @ 8,
        /// `Reserved`, of which the lowest byte is `Type`.
        kind: u32 = "Reserved" @ 12,
    }
}
