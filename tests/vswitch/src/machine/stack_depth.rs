//! How much kernel stack the driver takes when its handlers nest: NdisFSend can come back as FilterReceive,
//! FilterReturn and FilterSendComplete on the same stack.
//!
//! Measured between two points that bracket the driver's own frames: where the simulation calls a handler, and where
//! the driver enters an import. Nested calls add up; the simulation's frames in between do not count. In a world with
//! `paint_stack` the dead stack below is painted whenever the driver gets control, and what it has overwritten is found
//! before anything else happens when it gives control up, so that leaf functions count too.
//!
//! Every import and every handler of the switch begins with `import_entry!`, which takes both figures without touching
//! the stack: what the compiler makes of the function behind it does not count.

use crate::machine::world::World;
use std::arch::asm;
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

/// The deepest sums that a world has seen, in bytes.
#[derive(Default)]
pub struct StackDepth {
    to_imports: AtomicUsize,
    painted: AtomicUsize,
}

impl StackDepth {
    /// Down to the stack pointer at an import.
    pub fn deepest(&self) -> usize {
        self.to_imports.load(Ordering::Relaxed)
    }

    /// Down to the last byte that was written; 0 in a world whose stacks are not painted.
    pub fn deepest_painted(&self) -> usize {
        self.painted.load(Ordering::Relaxed)
    }
}

/// What `import_entry!` reads and writes, in this order.
#[repr(C)]
struct Border {
    /// Where the paint ends; 0: nothing is painted.
    paint_ends: Cell<usize>,
    /// The stack pointer at the entry of the last import.
    stack: Cell<usize>,
    /// One word above the lowest that had lost its paint by then.
    touched: Cell<usize>,
}

/// The driver in control on a thread: where it was called, and what the handlers around it have taken.
#[derive(Clone, Copy, Default)]
pub struct Span {
    entered_at: usize,
    around: usize,
    paint_ends: usize,
}

thread_local! {
    static BORDER: Border = const { Border { paint_ends: Cell::new(0), stack: Cell::new(0), touched: Cell::new(0) } };
    static INNERMOST: Cell<Span> = const { Cell::new(Span { entered_at: 0, around: 0, paint_ends: 0 }) };
}

/// Where `BORDER` lies from the thread pointer; the same in every thread of a program that is linked as one piece. 0
/// until the first simulated thread begins.
pub static BORDER_AT: AtomicIsize = AtomicIsize::new(0);

pub const PAINT: u64 = 0xA5C3_96F0_5A3C_690F;
/// More than the driver may ever take between two imports.
pub const PAINTED_WORDS: usize = 2048;

/// A simulated thread begins.
pub fn thread_begins() {
    let thread: isize;
    // SAFETY: the first word at the thread pointer is its own address (System V ABI, x86-64).
    unsafe { asm!("mov {}, fs:0", out(reg) thread, options(nostack, readonly, preserves_flags)) };
    let at = BORDER.with(|border| std::ptr::from_ref(border).addr() as isize - thread);
    let before = BORDER_AT.swap(at, Ordering::SeqCst);
    assert!(before == 0 || before == at, "thread-local storage is not static in this program");
}

/// The body of a naked function that notes the stack and goes on in `$body`. Only what the callee may change is
/// changed; the stack is not written.
#[macro_export]
macro_rules! import_entry {
    ($body:path) => {
        ::std::arch::naked_asm!(
            "mov rax, qword ptr [rip + {at}]",
            "test rax, rax",
            "je 2f",
            "mov qword ptr fs:[rax + 8], rsp",
            "cmp qword ptr fs:[rax], 0",
            "je 2f",
            "mov r10, rdi",
            "mov r11, rcx",
            "mov rdi, qword ptr fs:[rax]",
            "mov ecx, {words}",
            "movabs rax, {paint}",
            "repe scasq",
            "mov rax, qword ptr [rip + {at}]",
            "mov qword ptr fs:[rax + 16], rdi",
            "mov rdi, r10",
            "mov rcx, r11",
            "2: jmp {body}",
            at = sym $crate::machine::stack_depth::BORDER_AT,
            words = const $crate::machine::stack_depth::PAINTED_WORDS,
            paint = const $crate::machine::stack_depth::PAINT,
            body = sym $body,
        )
    };
}

#[inline(always)]
fn stack_pointer() -> usize {
    let stack: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) stack, options(nomem, nostack, preserves_flags)) };
    stack
}

/// Where paint below the caller's frame begins.
#[inline(always)]
pub fn lowest_to_paint() -> usize {
    stack_pointer() - PAINTED_WORDS * size_of::<u64>()
}

/// Paints what lies below the stack pointer.
///
/// # Safety
/// `lowest` is what `lowest_to_paint` gives in the same function.
#[inline(always)]
pub unsafe fn paint(lowest: usize) {
    // SAFETY: the words below the stack pointer belong to this thread's stack of many megabytes and are dead: without
    // `nostack` the compiler keeps nothing below the stack pointer across the block.
    unsafe {
        asm!(
            "rep stosq",
            inout("rcx") PAINTED_WORDS => _,
            in("rax") PAINT,
            inout("rdi") lowest => _,
        );
    }
}

/// One word above the lowest that has lost its paint.
#[inline(always)]
fn touched(lowest: usize) -> usize {
    let after: usize;
    // SAFETY: reads words of this thread's stack that `paint` wrote, up to the first that differs.
    unsafe {
        asm!(
            "repe scasq",
            inout("rdi") lowest => after,
            inout("rcx") PAINTED_WORDS => _,
            in("rax") PAINT,
        );
    }
    after
}

fn give_control(span: Span) {
    INNERMOST.set(span);
    BORDER.with(|border| border.paint_ends.set(span.paint_ends));
}

/// A handler is about to be called. Gives what `left_driver` takes back.
#[inline(always)]
pub fn enter_driver(world: &World) -> Span {
    let before = INNERMOST.get();
    let mut span = Span { entered_at: stack_pointer(), around: before.around, paint_ends: 0 };
    give_control(span);
    if world.config().paint_stack {
        span.paint_ends = lowest_to_paint();
        give_control(span);
        // SAFETY: from just now.
        unsafe { paint(span.paint_ends) };
    }
    before
}

/// The handler has returned.
#[inline(always)]
pub fn left_driver(world: &World, before: Span) {
    let lowest = BORDER.with(|border| border.paint_ends.get());
    if lowest != 0 {
        let touched = touched(lowest);
        note_painted(world, INNERMOST.get(), touched);
    }
    give_control(before);
}

/// The driver has called an import. Gives what `back_in_driver` takes.
pub fn leave_driver(world: &World) -> Span {
    let span = INNERMOST.get();
    if span.entered_at != 0 {
        let (stack, touched) = BORDER.with(|border| (border.stack.replace(0), border.touched.get()));
        debug_assert!(stack != 0, "an import without `import_entry!`");
        // The return address is the caller's.
        let taken = span.around + span.entered_at.saturating_sub(stack);
        world.part::<StackDepth>().to_imports.fetch_max(taken, Ordering::Relaxed);
        if span.paint_ends != 0 {
            note_painted(world, span, touched);
        }
        give_control(Span { around: taken, ..Span::default() });
    }
    span
}

/// The import returns to the driver. Gives whether the dead stack is to be painted from `lowest` on.
pub fn back_in_driver(mut before: Span, lowest: usize) -> bool {
    let painted = before.paint_ends != 0;
    if painted {
        before.paint_ends = lowest;
    }
    give_control(before);
    painted
}

fn note_painted(world: &World, span: Span, touched: usize) {
    let taken = span.around + span.entered_at.saturating_sub(touched - size_of::<usize>());
    world.part::<StackDepth>().painted.fetch_max(taken, Ordering::Relaxed);
}
