//! The few items of the `windows` crate that wdk-build names, for a host without a registry: every key is
//! absent, so that the kit is found through its environment variables alone.
#![no_std]
#![allow(non_snake_case)]

pub mod core {
    #[derive(Clone, Copy)]
    pub struct PCSTR;

    #[macro_export]
    #[doc(hidden)]
    macro_rules! pcstr {
        ($_text:literal) => {
            $crate::core::PCSTR
        };
    }
    pub use crate::pcstr as s;
}

pub mod Win32 {
    pub mod System {
        pub mod Registry {
            use crate::core::PCSTR;

            #[derive(Clone, Copy, Default)]
            pub struct HKEY;
            pub const HKEY_LOCAL_MACHINE: HKEY = HKEY;
            pub const KEY_READ: u32 = 0;
            pub const RRF_RT_REG_SZ: u32 = 0;

            /// What a registry call answers.
            pub struct Answer;

            impl Answer {
                pub fn is_ok(&self) -> bool {
                    false
                }

                pub fn ok(self) -> Option<()> {
                    None
                }
            }

            pub unsafe fn RegOpenKeyExA(_: HKEY, _: PCSTR, _: Option<u32>, _: u32, _: *mut HKEY) -> Answer {
                Answer
            }

            pub unsafe fn RegGetValueA(
                _: HKEY,
                _: Option<PCSTR>,
                _: PCSTR,
                _: u32,
                _: Option<*mut u32>,
                _: Option<*mut u8>,
                _: Option<*mut u32>,
            ) -> Answer {
                Answer
            }

            pub unsafe fn RegCloseKey(_: HKEY) -> Answer {
                Answer
            }
        }
    }
}
