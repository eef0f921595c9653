//! Random numbers from the operating system (bcrypt.h, functions of cng.sys).

use crate::ndis::irql::Passive;

/// The function that the driver imports from cng.sys; on the host the simulated machine defines the same symbol.
pub mod sys {
    use core::ffi::c_void;

    #[cfg_attr(windows, link(name = "cng.sys", kind = "raw-dylib", modifiers = "+verbatim"))]
    unsafe extern "win64" {
        /// PASSIVE_LEVEL with the system-preferred generator (nf-bcrypt-bcryptgenrandom).
        pub fn BCryptGenRandom(algorithm: *mut c_void, buffer: *mut u8, length: u32, flags: u32) -> i32;
    }
}

/// `BCRYPT_USE_SYSTEM_PREFERRED_RNG`.
const SYSTEM_PREFERRED: u32 = 2;

/// Two words that nobody can guess. If the system has none to give, they are made of the time and of an address, which
/// is hard to guess but not random. PASSIVE_LEVEL.
pub fn secret(_: &Passive) -> [u64; 2] {
    let mut words = [super::time::unbiased_interrupt_time(), 0];
    words[1] = words.as_ptr().expose_provenance() as u64;
    let given = {
        let mut random = [0_u64; 2];
        let length = size_of_val(&random) as u32;
        // SAFETY: PASSIVE_LEVEL by the token; the buffer is as long as said and lives through the call.
        let status = unsafe {
            sys::BCryptGenRandom(core::ptr::null_mut(), random.as_mut_ptr().cast(), length, SYSTEM_PREFERRED)
        };
        (status >= 0).then_some(random)
    };
    given.unwrap_or(words)
}
