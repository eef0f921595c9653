//! Whether the mutation of this world was carried out, and what it needs between two calls.

use crate::machine::world::{self, World};
use crate::mutation::Mutation;
use crate::switch::ndis::State;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a mutation needs between two calls.
#[derive(Default)]
pub struct Injection {
    committed: AtomicBool,
    pub(super) held: Mutex<Vec<(usize, usize)>>,
    pub(super) undo: Mutex<Option<Undo>>,
}

pub(super) type Undo = Box<dyn FnOnce(&mut State) + Send>;

/// The mutation of this world, as long as it was not committed.
pub fn pending() -> Option<Mutation> {
    let world = world::current();
    let mutation = world.mutation().filter(|mutation| mutation.is_at_border())?;
    (!world.part::<Injection>().committed.load(Ordering::Relaxed)).then_some(mutation)
}

/// True for the caller that commits this mutation.
pub fn is(mutation: Mutation) -> bool {
    pending() == Some(mutation) && commit()
}

/// Commits it; false if somebody else just did.
pub(super) fn commit() -> bool {
    !world::current().part::<Injection>().committed.swap(true, Ordering::Relaxed)
}

/// True if the mutation of this world was committed.
pub fn was_committed(world: &World) -> bool {
    world.part::<Injection>().committed.load(Ordering::Relaxed)
}

/// Keeps a list in the driver's name.
pub(super) fn hold(filter: usize, list: usize) {
    world::current().part::<Injection>().held.lock().push((filter, list));
}

/// Lists kept so.
pub(super) fn take_held() -> Vec<(usize, usize)> {
    std::mem::take(&mut *world::current().part::<Injection>().held.lock())
}

/// Takes back after the checks what was changed for them.
pub(super) fn undo_later(undo: impl FnOnce(&mut State) + Send + 'static) {
    *world::current().part::<Injection>().undo.lock() = Some(Box::new(undo));
}

/// The checks are over: takes back what `undo_later` was given.
pub fn undo(state: &mut State) {
    let world = world::current();
    if !world.mutation().is_some_and(Mutation::is_at_border) {
        return;
    }
    let undo = world.part::<Injection>().undo.lock().take();
    if let Some(undo) = undo {
        undo(state);
    }
}
