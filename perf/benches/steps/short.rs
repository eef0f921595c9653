//! More chains of the usual packets: of other sources, kinds and places.

use super::{CHAIN, HOT, frames, rounds, switch, tagged_v6};
use crate::null_switch::Lists;
use std::hint::black_box;

/// Eight vNICs send in turn, so that no two packets in a row have one source.
pub fn mixed() -> Box<dyn FnMut()> {
    let switch = switch(4, 8);
    rounds(Lists::new(&frames(HOT), 5).mixed(8), move |chain| switch.send(black_box(chain), 0x20))
}

/// Each packet comes in a call of its own.
pub fn of_one() -> Box<dyn FnMut()> {
    let switch = switch(4, 8);
    let mut lists = Lists::new(&frames(HOT), 5);
    let mut from = 0;
    Box::new(move || {
        switch.send(black_box(lists.chain(from, 1)), 0x20);
        from = (from + 1) % lists.len();
    })
}

/// TCP over IPv6, without extension headers.
pub fn v6() -> Box<dyn FnMut()> {
    let switch = switch(4, 8);
    let mut frames = tagged_v6(HOT);
    for frame in &mut frames {
        // The tag, and the destination options behind the IPv6 header, whose next header is TCP then.
        frame.drain(58..66);
        frame[24] = 6;
        frame.drain(12..16);
    }
    rounds(Lists::new(&frames, 5), move |chain| switch.send(black_box(chain), 0x20))
}

/// To another vNIC of the switch.
pub fn inside() -> Box<dyn FnMut()> {
    let switch = switch(4, 8);
    let mut frames = frames(HOT);
    frames.iter_mut().for_each(|frame| frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 6]));
    let mut lists = Lists::new(&frames, 5);
    switch.send(lists.chain(0, CHAIN), 0x20);
    assert_eq!(lists.destinations(0), 1);
    rounds(lists, move |chain| switch.send(black_box(chain), 0x20))
}

/// Lists in a random order: of 1,024 and less, all that is read of them stays in the second cache; of 8,192, in the third.
pub fn shuffled(working_set: usize) -> Box<dyn FnMut()> {
    let switch = switch(4, 8);
    rounds(Lists::new(&frames(working_set), 5).shuffled(), move |chain| switch.send(black_box(chain), 0x20))
}
