//! How a request from above ended.

use lbfoext::ndis::raw::{OidRequest, REQUEST_ABORTED};

/// The result of a request from above.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: i32,
    /// The module was given the request; false if it was being detached.
    pub was_asked: bool,
    pub reached_below: bool,
    pub payload: Vec<u8>,
    /// For a method request: BytesWritten and BytesNeeded.
    pub written: u32,
    pub needed: u32,
    /// A call of the extension's was refused meanwhile.
    pub starved: bool,
}

impl Answer {
    pub(super) fn aborted() -> Self {
        Self {
            status: REQUEST_ABORTED,
            was_asked: false,
            reached_below: false,
            payload: Vec::new(),
            written: 0,
            needed: 0,
            starved: false,
        }
    }

    pub(super) fn results_of(r: &OidRequest) -> Self {
        Self { written: r.method_bytes_written, needed: r.method_bytes_needed, ..Self::aborted() }
    }
}
