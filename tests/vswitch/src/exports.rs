//! The border: how an imported function is defined. `symbols` finds one by name.

use crate::machine::cpu;
use crate::machine::stack_depth;
use crate::machine::thread::{self, Thread};
use crate::mutation::Mutation;
use std::ffi::c_void;
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// Address of an exported function.
#[derive(Clone, Copy, Debug)]
pub struct Address(pub *const c_void);

// SAFETY: an address of code is never written through.
unsafe impl Sync for Address {}
// SAFETY: as above.
unsafe impl Send for Address {}

/// Name and address of an exported function.
pub type Symbol = (&'static str, Address);

/// Defines imports of the driver: `pub extern "win64" fn Name(a: T) -> R where irql <= DISPATCH { body }`.
///
/// Each becomes an unmangled function whose body runs inside a `Frame`, and a row of the file's `SYMBOLS`.
#[macro_export]
macro_rules! exports {
    ($(
        $(#[$meta:meta])*
        pub extern "win64" fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? where irql <= $max:ident $body:block
    )*) => {
        $(
            $(#[$meta])*
            /// # Safety
            /// As for the documented function of the same name.
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            pub unsafe extern "win64" fn $name($($arg: $ty),*) $(-> $ret)? {
                #[allow(clippy::too_many_arguments)]
                unsafe extern "win64" fn behind($($arg: $ty),*) $(-> $ret)? {
                    // Apart, and with the driver's calling convention, so that little of ours lies on the stack when the
                    // driver gets control back: what lies there counts as its own.
                    #[inline(never)]
                    #[allow(clippy::too_many_arguments, improper_ctypes_definitions)]
                    extern "win64-unwind" fn enter($($arg: $ty),*) -> $crate::exports::Frame {
                        let shown = $crate::shown::arguments!($($arg),*);
                        $crate::exports::Frame::enter(stringify!($name), $crate::machine::cpu::$max, shown)
                    }
                    #[inline(never)]
                    #[allow(clippy::too_many_arguments, improper_ctypes_definitions)]
                    unsafe extern "win64-unwind" fn body($($arg: $ty),*) $(-> $ret)? $body
                    let frame = enter($($arg),*);
                    // SAFETY: the arguments are the caller's.
                    #[allow(unreachable_code, unused_variables, clippy::diverging_sub_expression)]
                    let result = frame.ended(unsafe { body($($arg),*) });
                    #[allow(unreachable_code)]
                    {
                        let lowest = $crate::machine::stack_depth::lowest_to_paint();
                        if frame.left(lowest) {
                            // SAFETY: from just now.
                            unsafe { $crate::machine::stack_depth::paint(lowest) };
                        }
                        result
                    }
                }
                $crate::import_entry!(behind)
            }
        )*

        /// The functions above by name.
        pub const SYMBOLS: &[$crate::exports::Symbol] = &[
            $((
                stringify!($name),
                $crate::exports::Address($name as *const ::std::ffi::c_void),
            ),)*
        ];
    };
}

/// The execution of one import: log, yield points, IRQL check, simulated call stack. Nothing unwinds past it.
pub struct Frame {
    thread: Rc<Thread>,
    name: &'static str,
    /// Where the driver stood on its stack.
    driver: stack_depth::Span,
}

impl Frame {
    pub fn enter(name: &'static str, max: u8, arguments: impl FnOnce() -> String) -> Self {
        let Some(thread) = thread::try_current() else {
            eprintln!("vswitch: {name} called on a thread that belongs to no simulated machine");
            std::process::abort();
        };
        let driver = stack_depth::leave_driver(&thread.world);
        thread.world.scheduler.yield_point(&thread, name);
        thread.stack.borrow_mut().push(name);
        thread.shared.imports.fetch_add(1, Ordering::SeqCst);
        thread.world.log_call(&thread, "+", name, arguments);
        if max == cpu::PASSIVE
            && thread.world.mutation() == Some(Mutation::CallTooHigh)
            && thread.world.spend_mutation()
        {
            let old = cpu::raise(&thread);
            cpu::require_irql(name, max);
            cpu::lower_to(&thread, old);
        }
        cpu::require_irql(name, max);
        Self { thread, name, driver }
    }

    /// What the import returns, on its way back.
    #[inline(never)]
    #[allow(improper_ctypes_definitions, reason = "no other language calls it")]
    pub extern "win64-unwind" fn ended<R: 'static>(&self, result: R) -> R {
        self.thread.world.log_result(&self.thread, self.name, &result);
        result
    }

    /// The import is done. Gives whether the dead stack is to be painted from `lowest` on.
    #[inline(never)]
    #[allow(improper_ctypes_definitions, reason = "no other language calls it")]
    pub extern "win64-unwind" fn left(self, lowest: usize) -> bool {
        stack_depth::back_in_driver(self.driver, lowest)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let stack = self.thread.stack.borrow().join(" > ");
            let seed = self.thread.world.config().seed;
            eprintln!("vswitch: the simulation itself failed in {} ({stack}, seed {seed})", self.name);
            std::process::abort();
        }
        self.thread.stack.borrow_mut().pop();
        self.thread.world.scheduler.yield_point(&self.thread, self.name);
    }
}
