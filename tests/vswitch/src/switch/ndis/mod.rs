//! NDIS and the extensible switch around the driver: filter modules, packets, handlers.
//!
//! One mutex protects all state of the switch. It is never held at a yield point, and so never while the driver runs:
//! every function takes the state, decides, releases it, and only then calls the driver. Reading order: `driver` and
//! `module` (life cycle), `data` (the driver's calls for packets), `edges` (the components above and below),
//! `handlers`.

pub mod adversity;
pub mod array;
pub mod chain;
pub mod contexts;
pub mod data;
pub mod delivery;
pub mod destinations;
pub mod detach;
pub mod driver;
pub mod edges;
pub mod forwarding;
pub mod fragments;
pub mod handlers;
pub mod holders;
pub mod leaks;
pub mod learned;
pub mod mdls;
pub mod module;
pub mod packet;
pub mod pools;
pub mod references;
pub mod refused;
pub mod reports;
mod style;

pub use style::{Odd, Style};

use crate::adapter::ExternalNetwork;
use crate::machine::thread::Shared;
use crate::machine::world::{self, Violation, World};
use crate::switch::control::Control;
use crate::switch::frames::Frames;
use crate::switch::nbl::{Built, Quarantine, Shape, build};
use crate::switch::ports::{Mac, Topology};
use lbfoext::ndis::raw::{FilterDriverCharacteristics, Handle, NetBufferList};
use packet::Packets;
use parking_lot::{Mutex, MutexGuard};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// States of a filter module.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub enum Life {
    Detached,
    Attaching,
    Paused,
    Restarting,
    Running,
    Pausing,
}

/// NDIS's record of the driver.
#[derive(Default)]
pub struct Driver {
    pub object: usize,
    pub handle: usize,
    /// FilterDriverContext.
    pub handle_context: usize,
    pub registered: bool,
    pub registering: bool,
    pub deregistered: bool,
    pub characteristics: Option<FilterDriverCharacteristics>,
    pub next_handle: usize,
    pub frees_at_unload: u64,
    pub unloading: bool,
    /// Entries of the ledger that were reported as leaks.
    pub reported: BTreeSet<u64>,
    /// Modules that attach during the registration.
    pub attach_inside: Vec<usize>,
}

/// One instance of the driver in one stack.
pub struct Module {
    pub index: usize,
    pub filter: usize,
    /// 0 in a stack that is not an extensible switch.
    pub switch: usize,
    pub context: usize,
    pub attributes_set: u32,
    pub asked_handlers: bool,
    pub life: Life,
    /// FilterDetach is about to be called: nothing new comes from above or below.
    pub leaving: bool,
    /// A pause, restart, attach or detach is under way: NDIS begins no other.
    pub busy: bool,
    /// Calls for requests, indications and events that have not returned.
    pub calls_running: u32,
    pub is_active: bool,
    /// Whether the driver was told that the switch is active and may query arrays.
    pub told_active: bool,
    pub enumerations: u32,
    /// Time of the last query about the configuration that failed or had an unreadable element.
    pub refused_at: Option<u64>,
    /// When the configuration was last read without a refusal, and how many calls had been made to fail by then.
    pub read: Option<(u64, usize)>,
    /// The last answer to each question about the configuration.
    pub answers: crate::check::requests::Answers,
    pub attached_before: bool,
    /// Newest entry of the ledger before the attach.
    pub attach_mark: u64,
    /// Calls that had been made to fail before the attach.
    pub attach_faults: usize,
    /// Calls of FilterSend that have not returned, by their order numbers.
    pub sends_running: BTreeSet<u64>,
    /// Calls of FilterReceive that have not returned, by their order numbers.
    pub receives_running: BTreeSet<u64>,
    /// Number of completed pauses, which distinguishes walks that began before a pause from later ones.
    pub pauses: u64,
    pub pause_entered: u64,
    /// The FilterRestart in progress.
    pub restart: Option<Restart>,
    pub topology: Topology,
    /// Addresses learned behind ports that may use any source address.
    pub learned: learned::Learned,
    /// The source addresses that vNICs have sent from, each with the VLANs in which it was.
    pub spoken: BTreeSet<(Mac, u16)>,
    /// Addresses that adapters of one VM take over from each other.
    pub holders: holders::Holders,
    /// What came in from outside.
    pub arrivals: crate::check::arrivals::Ledger,
    pub external: ExternalNetwork,
    pub queues: edges::Queues,
    /// Lists that bypass an extension without a send handler.
    pub bypassing: edges::Lists,
    pub event_passed_up: bool,
    /// Order number at the start of the call in which the array of NICs was last read.
    pub last_enumeration: u64,
    /// Changes of the configuration, one for each query with a short buffer.
    pub growth: VecDeque<Growth>,
    /// Requests that arrive while the extension reads the array of NICs.
    pub meanwhile: VecDeque<Box<dyn FnOnce() + Send>>,
    /// A thread of the switch makes requests before or while the module learns of the switch.
    pub arriving: bool,
    /// The first restart is not over, or the activation is being told.
    pub learning: bool,
    /// When the last of these was over.
    pub learned_at: u64,
}

/// A FilterRestart that has not returned.
///
/// The driver admits packets some time before FilterRestart returns, so a send handler that was called before the
/// pause and entered late may send before that. It counts as a send before the completion only if FilterRestart was
/// not finished: if it called another import afterwards, or failed.
pub struct Restart {
    pub thread: Arc<Shared>,
    /// Sends, each with the number of imports that the thread had called by then.
    pub sends: Vec<(u64, Violation)>,
}

impl Restart {
    pub fn imports(&self) -> u64 {
        self.thread.imports.load(Ordering::SeqCst)
    }
}

/// A change of the configuration.
pub type Growth = Box<dyn FnOnce(&World, &mut State) + Send>;

impl Module {
    pub fn is_switch(&self) -> bool {
        self.switch != 0
    }

    /// The first restart is over, or the activation has been told: what waited for that goes on.
    pub fn learned(&mut self, world: &World) {
        if std::mem::take(&mut self.learning) {
            self.learned_at = world.now();
        }
    }
}

#[derive(Default)]
pub struct State {
    pub driver: Driver,
    pub installed: driver::Installed,
    pub modules: Vec<Module>,
    pub packets: Packets,
    pub quarantine: Quarantine,
    pub frames: Frames,
    pub pools: BTreeMap<usize, pools::ListPool>,
    pub buffer_pools: BTreeMap<usize, pools::BufferPool>,
    pub control: Control,
    pub saves: crate::switch::control::save::Saves,
    pub style: Style,
    /// Counter of all calls of and to the driver.
    pub order: u64,
    /// Rules of severity PERF, with the number of missed optimizations.
    pub costs: BTreeMap<&'static str, u64>,
    decoy: Option<Built>,
    /// Addresses of completed packets, until the memory is used again.
    pub gone: BTreeMap<usize, u64>,
    pub flows: crate::check::flows::Flows,
    /// The call, port and reason of the last report.
    pub last_report: Option<(u64, u32, String)>,
    /// Whether a mapping failed in this world.
    pub mapping_trouble: bool,
    /// Properties that ports get at their creation.
    pub port_plan: BTreeMap<u32, Vec<crate::switch::ports::policy::Property>>,
    /// The VM of each port whose VM has several NICs; a port that is not listed has its own VM.
    pub vm_of_port: BTreeMap<u32, u32>,
    /// Packets whose guest keeps writing.
    pub flickering: Vec<usize>,
    /// A module was detached at the yield point of the configuration.
    pub detached_at_point: bool,
    /// The driver's calls for packets, if a test records them.
    pub crossings: Option<Vec<Crossing>>,
}

/// The switch's part of a world.
#[derive(Default)]
pub struct Switch(Mutex<State>);

// SAFETY: the raw pointers in the state point to memory that the state owns or that the driver passed to it; they are
// dereferenced only with the mutex held or by the simulated thread that owns the memory.
unsafe impl Send for Switch {}
// SAFETY: as above.
unsafe impl Sync for Switch {}

impl Switch {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// The state, if the mutex is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        self.0.try_lock()
    }
}

/// Runs the closure with the calling world's state. It must not yield.
pub fn with<R>(f: impl FnOnce(&World, &mut State) -> R) -> R {
    let world = world::current();
    let mut state = world.part::<Switch>().lock();
    f(&world, &mut state)
}

impl State {
    pub fn tick(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// A list that no component owns, to which the pointers of a covered packet lead.
    pub fn decoy(&mut self) -> *mut NetBufferList {
        let bytes = [crate::switch::nbl::POISON; 64];
        self.decoy.get_or_insert_with(|| build(&[(&bytes, Shape::default())])).nbl
    }

    /// The module that has this filter handle.
    pub fn module_of(&self, filter: Handle) -> Option<usize> {
        self.modules.iter().position(|m| m.filter == filter as usize && m.filter != 0)
    }

    /// The module is there to be called.
    pub fn listens(&self, module: usize) -> bool {
        let m = &self.modules[module];
        !matches!(m.life, Life::Detached | Life::Attaching) && !m.leaving
    }

    /// Begins a call into the module, which FilterDetach waits for; false if nobody is there to be called.
    pub fn enter(&mut self, module: usize) -> bool {
        let listens = self.listens(module);
        self.modules[module].calls_running += u32::from(listens);
        listens
    }

    pub fn cost(&mut self, rule: &'static str) {
        *self.costs.entry(rule).or_insert(0) += 1;
    }

    pub fn fresh_handle(&mut self, kind: usize) -> usize {
        self.driver.next_handle += 1;
        // An address that is never mapped, so that a driver that dereferences a handle crashes.
        0x4E44_0000_0000 | kind << 32 | self.driver.next_handle << 4
    }
}

/// One call into the driver on this thread, as the checks see it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub handler: &'static str,
    pub module: usize,
    /// Order number at its start.
    pub began: u64,
    /// Flags of the packets.
    pub flags: u32,
}

/// One call of the driver for packets, and the call into the driver in which it happened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Crossing {
    pub handler: &'static str,
    pub came: u32,
    pub function: &'static str,
    pub gave: u32,
    pub at_dispatch: bool,
    /// Whether all lists have one source port, and whether all have one destination.
    pub same_source: bool,
    pub same_destination: bool,
    /// Whether a list is the driver's own, and whether a list has children that are all completed.
    pub own: bool,
    pub parent: bool,
}

/// A closure, and the call depth at the end of which it runs.
type After = (usize, Box<dyn FnOnce()>);

thread_local! {
    static CALLS: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
    static AFTER: RefCell<Vec<After>> = const { RefCell::new(Vec::new()) };
}

/// A call that `State::enter` began has returned.
pub fn leave(module: usize) {
    with(|_, state| state.modules[module].calls_running -= 1);
    crate::machine::cpu::wake(crate::machine::slots::ANY);
}

/// Handlers that are called while no module is attached.
const WITHOUT_MODULE: [&str; 5] =
    ["DriverEntry", "FilterSetOptions", "DriverUnload", "FilterAttach", "FilterDetach"];

/// Handlers that give the module packets; that of sends is counted for itself.
const OF_PACKETS: [&str; 3] =
    ["FilterReceiveNetBufferLists", "FilterReturnNetBufferLists", "FilterSendNetBufferListsComplete"];

/// Calls a handler of the driver; a module that is gone is not called, which is what it left under way that breaks the
/// rule (STATE-33).
pub fn call<R: Default + 'static>(handler: &'static str, module: usize, f: impl FnOnce() -> R) -> R {
    call_with(handler, module, String::new, f)
}

/// As `call`, with the arguments for the log.
pub fn call_with<R: Default + 'static>(
    handler: &'static str,
    module: usize,
    arguments: impl FnOnce() -> String,
    f: impl FnOnce() -> R,
) -> R {
    call_packets(handler, module, 0, arguments, f)
}

/// The same for packets with these flags.
pub fn call_packets<R: Default + 'static>(
    handler: &'static str,
    module: usize,
    flags: u32,
    arguments: impl FnOnce() -> String,
    f: impl FnOnce() -> R,
) -> R {
    let packets = OF_PACKETS.contains(&handler);
    let gone = with(|_, s| {
        let gone = !WITHOUT_MODULE.contains(&handler) && s.life(module) == Life::Detached;
        s.modules.get_mut(module).into_iter().for_each(|m| m.calls_running += u32::from(packets && !gone));
        gone
    });
    crate::check::rule(&world::current(), "STATE-33", !gone, || {
        format!("{handler} is due although FilterDetach has returned")
    });
    if gone {
        return R::default();
    }
    let began = with(|_, s| s.tick());
    let depth = CALLS.with_borrow_mut(|calls| {
        calls.push(Call { handler, module, began, flags });
        calls.len()
    });
    let shown = || match arguments() {
        arguments if arguments.is_empty() => format!("switch {module}"),
        arguments => format!("switch {module}: {arguments}"),
    };
    let result = crate::machine::cpu::call_driver_with(handler, shown, f);
    CALLS.with_borrow_mut(|calls| calls.truncate(depth - 1));
    loop {
        let due = AFTER.with_borrow_mut(|after| match after.last() {
            Some((at, _)) if *at >= depth => after.pop(),
            _ => None,
        });
        let Some((_, run)) = due else { break };
        run();
    }
    if packets {
        leave(module);
    }
    result
}

/// Runs the closure when the driver's innermost handler on this thread returns; at once if there is none.
pub fn after_this_call(f: impl FnOnce() + 'static) {
    let depth = CALLS.with_borrow(Vec::len);
    if depth == 0 {
        return f();
    }
    AFTER.with_borrow_mut(|after| after.push((depth, Box::new(f))));
}

/// Handlers of the driver that this thread is in, outermost first.
pub fn calls() -> Vec<Call> {
    CALLS.with_borrow(Clone::clone)
}

/// The innermost call of this handler on this thread.
pub fn inside(handler: &str) -> Option<Call> {
    CALLS.with_borrow(|calls| calls.iter().rev().find(|c| c.handler == handler).copied())
}

/// Whether this thread is in a handler of the driver.
pub fn in_driver() -> bool {
    CALLS.with_borrow(|calls| !calls.is_empty())
}
