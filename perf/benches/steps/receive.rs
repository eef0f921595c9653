//! A switch-independent team: what comes in from outside, and what may come back.
//!
//! The clock goes on by a second with each round, so that the credits of the round before have expired.

use super::{CHAIN, HOT, broadcasts, frames, rounds, switch};
use crate::null_switch::{Lists, MODE, NOW, NullSwitch};
use std::hint::black_box;
use std::sync::atomic::Ordering;

const EXTERNAL: u16 = 1;

/// The driver with a switch-independent team of four members.
fn separate(vnics: u16) -> NullSwitch {
    MODE.store(1, Ordering::Relaxed);
    let switch = switch(4, vnics);
    MODE.store(0, Ordering::Relaxed);
    switch
}

fn a_second_later() {
    NOW.fetch_add(10_000_000, Ordering::Relaxed);
}

/// Broadcasts of a vNIC to eight others and a member; each leaves credits for its way back.
pub fn flood_with_credits() -> Box<dyn FnMut()> {
    let switch = separate(9);
    let mut lists = Lists::with_room(&broadcasts(), 5);
    switch.send(lists.chain(0, 1), 0x20);
    assert_eq!(lists.destinations(0), 9, "eight other vNICs and one member");
    rounds(lists, move |chain| {
        a_second_later();
        switch.send(black_box(chain), 0x20);
    })
}

/// Frames from outside with the address of a vNIC, through one member.
pub fn unicast() -> Box<dyn FnMut()> {
    let switch = separate(8);
    let mut frames = frames(HOT);
    frames.iter_mut().for_each(|frame| frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 6, 2, 0, 0, 0, 9, 9]));
    let mut lists = Lists::new(&frames, EXTERNAL).through(1);
    switch.send(lists.chain(0, 1), 0x20);
    assert_eq!(lists.destinations(0), 1);
    rounds(lists, move |chain| switch.send(black_box(chain), 0x20))
}

/// Broadcasts of hosts outside.
fn external(member: u8) -> Lists {
    let mut frames = broadcasts();
    frames.iter_mut().for_each(|frame| frame[6..12].copy_from_slice(&[2, 0, 0, 0, 9, 9]));
    Lists::with_room(&frames, EXTERNAL).through(member)
}

/// Broadcasts from outside that no other member has brought yet.
pub fn news() -> Box<dyn FnMut()> {
    let switch = separate(8);
    let mut lists = external(1);
    switch.send(lists.chain(0, 1), 0x20);
    assert_eq!(lists.destinations(0), 8);
    rounds(lists, move |chain| {
        a_second_later();
        switch.send(black_box(chain), 0x20);
    })
}

/// The same, and then what the switch outside gave another member of them.
pub fn news_and_copies() -> Box<dyn FnMut()> {
    let switch = separate(8);
    let (mut first, mut second) = (external(1), external(2));
    switch.send(first.chain(0, CHAIN), 0x20);
    switch.send(second.chain(0, CHAIN), 0x20);
    assert_eq!((first.destinations(0), second.destinations(0)), (8, 0), "one is taken, the other a copy");
    let mut at = 0;
    Box::new(move || {
        a_second_later();
        switch.send(black_box(first.chain(at, CHAIN)), 0x20);
        switch.send(black_box(second.chain(at, CHAIN)), 0x20);
        at = (at + CHAIN) % first.len();
    })
}
