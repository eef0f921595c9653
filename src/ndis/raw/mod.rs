//! The binary interface of NDIS 6.40 on x86-64, declared once.
//!
//! `wdk-sys` binds no NDIS header, so these declarations are the driver's own. Each structure states the documented
//! name, size and offset of every field; a wrong one does not compile. `tests/files/layout.rs` compares the same rows
//! with an independent table: the simulated switch uses these declarations too, so it cannot detect an error in them.
//!
//! Never read a NET_BUFFER_LIST by value and never use its size: the structure of a later NDIS may be longer.

mod error_log;
mod flags;
mod interface;
mod nbl;
mod offload;
mod oid;
mod property;
mod registration;
mod status_codes;
mod switch;
mod trace;

pub use error_log::*;
pub use flags::*;
pub use interface::*;
pub use nbl::*;
pub use offload::*;
pub use oid::*;
pub use property::*;
pub use registration::*;
pub use status_codes::*;
pub use switch::*;
pub use trace::*;

use core::ffi::c_void;

/// An opaque handle of NDIS (NDIS_HANDLE).
pub type Handle = *mut c_void;

/// One row of the layout table: documented structure and field names, byte offset and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutRow {
    pub structure: &'static str,
    pub field: &'static str,
    pub offset: usize,
    pub size: usize,
}

/// Declares a `repr(C)` structure with its documented names and compile-time checks of size and offsets.
macro_rules! abi {
    ($(#[$meta:meta])* $documented:literal $size:literal => $name:ident {
        $($(#[$field_meta:meta])* $field:ident: $ty:ty = $doc_field:literal @ $offset:literal,)*
    }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty,)* }

        const _: () = {
            assert!(core::mem::size_of::<$name>() == $size);
            $(assert!(core::mem::offset_of!($name, $field) == $offset);)*
        };

        impl $name {
            /// The structure with every byte zero, which NDIS expects in members that are not set.
            pub const ZERO: Self = {
                // SAFETY: every field is an integer, a raw pointer, an `Option` of a function or an array of these.
                unsafe { core::mem::zeroed() }
            };

            /// Documented names, offsets and sizes of the fields.
            pub const LAYOUT: &'static [$crate::ndis::raw::LayoutRow] = &[
                $crate::ndis::raw::LayoutRow {
                    structure: $documented, field: "__sizeof", offset: 0, size: $size,
                },
                $($crate::ndis::raw::LayoutRow {
                    structure: $documented, field: $doc_field, offset: $offset,
                    size: {
                        const fn size_of_field<T>(_: fn(&$name) -> *const T) -> usize { core::mem::size_of::<T>() }
                        size_of_field(|s: &$name| &raw const s.$field)
                    },
                },)*
            ];
        }
    };
}
pub(crate) use abi;

abi! {
    /// NDIS_OBJECT_HEADER, the first member of most NDIS structures.
    "NDIS_OBJECT_HEADER" 4 => ObjectHeader {
        object_type: u8 = "Type" @ 0,
        revision: u8 = "Revision" @ 1,
        size: u16 = "Size" @ 2,
    }
}

impl ObjectHeader {
    pub const fn new(object_type: u8, revision: u8, size: u16) -> Self {
        Self { object_type, revision, size }
    }
}

abi! {
    "UNICODE_STRING" 16 => UnicodeString {
        length: u16 = "Length" @ 0,
        maximum_length: u16 = "MaximumLength" @ 2,
        buffer: *const u16 = "Buffer" @ 8,
    }
}

impl UnicodeString {
    /// The text in UTF-16 code units.
    ///
    /// # Safety
    /// `buffer` is null or holds `length` bytes as long as the result is used.
    pub unsafe fn text(&self) -> &[u16] {
        if self.buffer.is_null() {
            return &[];
        }
        // SAFETY: by the caller's promise.
        unsafe { core::slice::from_raw_parts(self.buffer, self.length as usize / 2) }
    }

    /// A string over `text`, which the caller keeps valid while the string is used.
    pub fn of(text: &[u16]) -> Self {
        let bytes = u16::try_from(text.len().saturating_mul(2)).unwrap_or(u16::MAX - 1);
        Self { length: bytes, maximum_length: bytes, buffer: text.as_ptr() }
    }

    /// A string over text of the image, which is always valid.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "callers pass short constants; longer text is cut by the type"
    )]
    pub const fn from_static(text: &'static [u16]) -> Self {
        let bytes = (text.len() * 2) as u16;
        Self { length: bytes, maximum_length: bytes, buffer: text.as_ptr() }
    }
}

abi! {
    "GUID" 16 => Guid {
        data1: u32 = "Data1" @ 0,
        data2: u16 = "Data2" @ 4,
        data3: u16 = "Data3" @ 6,
        data4: [u8; 8] = "Data4" @ 8,
    }
}

impl Guid {
    /// From its 16 bytes in memory.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let [a0, a1, a2, a3, b0, b1, c0, c1, data4 @ ..] = bytes;
        Self {
            data1: u32::from_le_bytes([a0, a1, a2, a3]),
            data2: u16::from_le_bytes([b0, b1]),
            data3: u16::from_le_bytes([c0, c1]),
            data4,
        }
    }

    pub const fn to_bytes(self) -> [u8; 16] {
        let ([a0, a1, a2, a3], [b0, b1]) = (self.data1.to_le_bytes(), self.data2.to_le_bytes());
        let ([c0, c1], [d0, d1, d2, d3, d4, d5, d6, d7]) = (self.data3.to_le_bytes(), self.data4);
        [a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7]
    }
}

/// Counted UTF-16 text inside structures of the switch: length in bytes, no terminator (`IF_COUNTED_STRING`).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CountedString {
    pub length: u16,
    pub text: [u16; 257],
}
const _: () = assert!(core::mem::size_of::<CountedString>() == 516);

pub mod object_type {
    pub const DEFAULT: u8 = 0x80;
    pub const FILTER_DRIVER_CHARACTERISTICS: u8 = 0x8B;
    pub const FILTER_ATTRIBUTES: u8 = 0x8D;
    pub const OID_REQUEST: u8 = 0x96;
    pub const TIMER_CHARACTERISTICS: u8 = 0x97;
    pub const STATUS_INDICATION: u8 = 0x98;
    pub const FILTER_ATTACH_PARAMETERS: u8 = 0x99;
    pub const FILTER_PAUSE_PARAMETERS: u8 = 0x9A;
    pub const FILTER_RESTART_PARAMETERS: u8 = 0x9B;
    pub const OFFLOAD: u8 = 0xA7;
    pub const SWITCH_OPTIONAL_HANDLERS: u8 = 0xB8;
}
