//! NDIS_STATUS, and the conversions of the driver's errors to it.

use super::raw;

/// A final or pending status as NDIS exchanges it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct NdisStatus(pub i32);

impl NdisStatus {
    pub const SUCCESS: Self = Self(raw::SUCCESS);
    pub const PENDING: Self = Self(raw::PENDING);
    pub const FAILURE: Self = Self(raw::FAILURE);
    pub const RESOURCES: Self = Self(raw::RESOURCES);
    pub const NOT_SUPPORTED: Self = Self(raw::NOT_SUPPORTED);
    pub const UNSUPPORTED_MEDIA: Self = Self(raw::UNSUPPORTED_MEDIA);
    pub const ADAPTER_NOT_FOUND: Self = Self(raw::ADAPTER_NOT_FOUND);
    pub const INVALID_PARAMETER: Self = Self(raw::INVALID_PARAMETER);
    pub const DATA_NOT_ACCEPTED: Self = Self(raw::DATA_NOT_ACCEPTED);
    pub const BUFFER_TOO_SHORT: Self = Self(raw::BUFFER_TOO_SHORT);
    pub const BUFFER_OVERFLOW: Self = Self(raw::BUFFER_OVERFLOW);
    pub const INVALID_LENGTH: Self = Self(raw::INVALID_LENGTH);
    pub const PAUSED: Self = Self(raw::PAUSED);

    /// Whether the status means that the buffer of a request is too short. The pages of the switch's OIDs name
    /// NDIS_STATUS_INVALID_LENGTH, those of NDIS also BUFFER_TOO_SHORT and BUFFER_OVERFLOW (oid-switch-nic-array.md,
    /// ns-ndis-ndis_oid_request).
    pub fn is_too_short(self) -> bool {
        matches!(self, Self::INVALID_LENGTH | Self::BUFFER_TOO_SHORT | Self::BUFFER_OVERFLOW)
    }

    /// `Ok` for NDIS_STATUS_SUCCESS, the status itself otherwise.
    pub fn ok(self) -> Result<(), Self> {
        if self == Self::SUCCESS { Ok(()) } else { Err(self) }
    }
}

impl From<Result<(), NdisStatus>> for NdisStatus {
    fn from(result: Result<(), NdisStatus>) -> Self {
        match result {
            Ok(()) => Self::SUCCESS,
            Err(status) => status,
        }
    }
}

/// An allocation from pool failed; converts to NDIS_STATUS_RESOURCES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl From<OutOfMemory> for NdisStatus {
    fn from(_: OutOfMemory) -> Self {
        Self::RESOURCES
    }
}
