//! The header of an entry of the System event log (wdm.h), which is no structure of NDIS.

use super::abi;

abi! {
    "IO_ERROR_LOG_PACKET" 48 => ErrorLogPacket {
        major_function_code: u8 = "MajorFunctionCode" @ 0,
        retry_count: u8 = "RetryCount" @ 1,
        dump_data_size: u16 = "DumpDataSize" @ 2,
        number_of_strings: u16 = "NumberOfStrings" @ 4,
        string_offset: u16 = "StringOffset" @ 6,
        event_category: u16 = "EventCategory" @ 8,
        error_code: i32 = "ErrorCode" @ 12,
        unique_error_value: u32 = "UniqueErrorValue" @ 16,
        final_status: i32 = "FinalStatus" @ 20,
        sequence_number: u32 = "SequenceNumber" @ 24,
        io_control_code: u32 = "IoControlCode" @ 28,
        device_offset: u64 = "DeviceOffset" @ 32,
        dump_data: u32 = "DumpData" @ 40,
    }
}
