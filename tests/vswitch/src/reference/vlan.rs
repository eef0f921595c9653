//! VLANs of a frame: in which one it is when it comes in, on which ports that one may leave, and how it must look
//! there.
//!
//! | port, frame | none or VID 0 | VID v |
//! |---|---|---|
//! | from an access port of VLAN a (0 without a property) | a | not taken |
//! | from a private port | isolated and community: the secondary, promiscuous: the primary | not taken |
//! | from a trunk port | its native VLAN | v if allowed and not pruned |
//! | from the external network, of which nothing was said: no property, access VLAN 0, no mode | 0 | v |
//!
//! | to | in which VLANs | how |
//! |---|---|---|
//! | access port of VLAN a | a | untagged |
//! | isolated | the primary | untagged |
//! | community | the primary, the secondary | untagged |
//! | promiscuous | the primary, the secondaries | untagged |
//! | trunk port | allowed and not pruned, the native one if not pruned | tagged; the native one tagged or not |
//! | external | any | tagged, VLAN 0 untagged |
//!
//! A service tag (IEEE 802.1ad: 0x88A8, or 0x9100 of older equipment) is payload for equipment that reads 802.1Q tags
//! alone, and a VLAN for equipment that reads it. Where it is the outermost tag, a frame may be only where both readings
//! allow it: so a port without tags neither sends nor gets one, and a trunk only in VLANs that it carries.
//!
//! Of several tags the outermost says the VLAN (IEEE 802.1Q, 9.6: an inner one is the client's data). Whoever gets the frame
//! without the outermost reads the next one, and would take it for a frame of that VLAN. So a trunk gets it with the outer
//! tag, in its native VLAN too, and a port without tags does not get it.
//!
//! Pages: ns-ntddndis-_ndis_switch_port_property_vlan.md, ne-ntddndis-_ndis_switch_port_pvlan_mode.md,
//! ns-ndis-_ndis_switch_port_destination.md. What they leave open is a `Freedom`.

use super::{Cause, Freedom, Reach};
use crate::switch::ports::policy::{Private, Vlan};
use crate::switch::ports::{NicKind, Port};
use lbfoext::ndis::raw::{DestinationBits, PortDestination};

/// One 802.1Q tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    pub vid: u16,
    pub priority: u8,
}

/// The tags of a frame: beside it and in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tags {
    pub out_of_band: Option<Tag>,
    pub inside: Option<Tag>,
    /// A service tag at the beginning of its bytes.
    pub service: Option<Tag>,
    /// What lies in the bytes behind a tag: another one of either kind.
    pub second: Option<Tag>,
    /// Without the tag that says its VLAN the frame would begin with another that says one.
    pub hidden: bool,
}

/// The bytes of a frame without the 802.1Q tag with which they begin; `None` if they do not.
pub fn without_tag(frame: &[u8]) -> Option<Vec<u8>> {
    let tagged = frame.len() >= 18 && frame[12..14] == [0x81, 0x00];
    tagged.then(|| [&frame[..12], &frame[16..]].concat())
}

/// Whether these bytes are a frame at all: without the tag that says its VLAN it has two addresses and a length or type (IEEE
/// 802.3, 3.1.1). What lies behind that is its payload, also another tag, complete or not. A priority tag says no VLAN (IEEE
/// 802.1Q, 9.6: VID 0), so the next one does. `word` is that of its out-of-band tag.
pub fn is_frame(frame: &[u8], word: u64) -> bool {
    let mut bare = frame.to_vec();
    let mut is_said = out_of_band(word).is_some_and(|tag| tag.vid != 0);
    while let (false, Some([0x81, 0x00] | [0x88, 0xA8] | [0x91, 0x00])) = (is_said, bare.get(12..14)) {
        let Some(&[high, low]) = bare.get(14..16) else { return false };
        is_said = u16::from_be_bytes([high & 0x0F, low]) != 0;
        bare.drain(12..16);
    }
    bare.len() >= 14
}

/// The word of `NDIS_NET_BUFFER_LIST_8021Q_INFO`: priority in bits 0 to 2, VLAN id from bit 4.
pub fn out_of_band(word: u64) -> Option<Tag> {
    let vid = (word >> 4 & 0xFFF) as u16;
    let priority = (word & 7) as u8;
    (vid != 0 || priority != 0).then_some(Tag { vid, priority })
}

pub fn word(tag: Option<Tag>) -> u64 {
    tag.map_or(0, |tag| u64::from(tag.priority & 7) | u64::from(tag.vid & 0xFFF) << 4)
}

impl Tags {
    /// What is missing of a tag reads as 0, with which adapters pad short frames (IEEE 802.3, 3.2.8).
    pub fn of(frame: &[u8], word: u64) -> Self {
        let at = |at: usize| {
            let [high, low] = [at + 2, at + 3].map(|at| frame.get(at).copied().unwrap_or(0));
            let tag = Some(Tag { vid: u16::from_be_bytes([high & 0x0F, low]), priority: high >> 5 });
            match frame.get(at..at + 2) {
                Some([0x81, 0x00]) => (tag, None),
                Some([0x88, 0xA8] | [0x91, 0x00]) => (None, tag),
                _ => (None, None),
            }
        };
        let (inside, service) = at(12);
        let next = |start| at(start).0.or(at(start).1);
        let second = inside.or(service).and_then(|_| next(16));
        let out_of_band = out_of_band(word);
        let said_out_of_band = out_of_band.is_some_and(|tag| tag.vid != 0);
        let said_inside = inside.is_some_and(|tag| tag.vid != 0);
        let hidden = match (said_out_of_band, said_inside) {
            (true, _) => Some(12),
            (false, true) => Some(16),
            (false, false) => None,
        }
        .is_some_and(|start| {
            // A priority tag says none, but whatever comes after it would.
            next(start).is_some_and(|tag| tag.vid != 0 || next(start + 4).is_some())
        });
        Self { out_of_band, inside, service, second, hidden }
    }

    /// The VLAN of a service tag that is the outermost tag.
    fn service(self) -> Option<u16> {
        let around = self.out_of_band.is_some_and(|tag| tag.vid != 0);
        self.service.map(|tag| tag.vid).filter(|vid| *vid != 0 && !around)
    }

    fn vids(self) -> (u16, u16) {
        (self.out_of_band.map_or(0, |t| t.vid), self.inside.map_or(0, |t| t.vid))
    }

    /// The outermost VLAN id.
    fn outer(self) -> u16 {
        match self.vids() {
            (0, inside) => inside,
            (out_of_band, _) => out_of_band,
        }
    }
}

/// The VLAN of a frame on the wire: that of the out-of-band tag if the destination preserves it, otherwise that in its
/// bytes; and whether it is the former.
pub fn wire_vid(frame: &[u8], tag: u64, to: PortDestination) -> (u16, bool) {
    let tags = Tags::of(frame, tag);
    let out_of_band =
        tags.out_of_band.filter(|_| to.bits.contains(DestinationBits::PRESERVE_VLAN)).map_or(0, |t| t.vid);
    if out_of_band != 0 { (out_of_band, true) } else { (tags.inside.map_or(0, |t| t.vid), false) }
}

/// Where a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inside {
    pub vid: u16,
    /// Primary VLAN of the private port it comes from, and whether that port is isolated.
    private: Option<(u16, bool)>,
    pub freedom: Option<Freedom>,
}

/// What the VLAN property of a port says, if it says anything. A real switch reports access VLAN 0 for every port that
/// nobody configured, the external one included, which then carries the VLANs of all others.
fn said(port: &Port) -> Option<&Vlan> {
    port.policies.vlan().filter(|vlan| match vlan {
        Vlan::Unknown => false,
        Vlan::Access(own) => *own != 0 || port.kind != NicKind::External,
        Vlan::Trunk { .. } | Vlan::Private(_) => true,
    })
}

/// The VLAN of a frame that comes from a port.
pub fn enter(port: &Port, tags: Tags) -> Result<Inside, Cause> {
    let vid = tags.outer();
    let service = tags.service();
    let mut freedom = (vid == 0xFFF || service == Some(0xFFF)).then_some(Freedom::ReservedVlan);
    let said_out_of_band = tags.out_of_band.is_some_and(|tag| tag.vid != 0);
    let first = tags.inside.or(tags.service).filter(|_| !said_out_of_band);
    if first.is_some_and(|t| t.vid == 0) && (port.kind != NicKind::External || tags.second.is_some()) {
        freedom = freedom.or(Some(Freedom::PriorityInBytes));
    }
    let plain = |own: u16, private| {
        if vid == 0 && service.is_none() {
            Ok(Inside { vid: own, private, freedom })
        } else {
            Err(Cause::Vlan)
        }
    };
    match said(port) {
        None if port.kind == NicKind::External => Ok(Inside { vid, private: None, freedom }),
        None => plain(0, None),
        Some(Vlan::Access(own)) => plain(*own, None),
        Some(Vlan::Private(private)) => match private {
            Private::Isolated { primary, secondary } => plain(*secondary, Some((*primary, true))),
            Private::Community { primary, secondary } => plain(*secondary, Some((*primary, false))),
            Private::Promiscuous { primary, .. } => plain(*primary, Some((*primary, false))),
        },
        Some(trunk) => {
            let Vlan::Trunk { native, .. } = trunk else { return Err(Cause::Vlan) };
            let vid = if vid == 0 { *native } else { vid };
            let both =
                service.map_or(Reach::Must, |service| on_trunk(trunk, service)).and(on_trunk(trunk, vid));
            match both {
                Reach::Must => Ok(Inside { vid, private: None, freedom }),
                Reach::May(free) => Ok(Inside { vid, private: None, freedom: Some(free) }),
                Reach::No(cause) => Err(cause),
            }
        }
    }
}

fn on_trunk(trunk: &Vlan, vid: u16) -> Reach {
    let Vlan::Trunk { native, allowed, pruned } = trunk else { return Reach::No(Cause::Vlan) };
    if pruned.contains(&vid) {
        return Reach::No(Cause::Pruned);
    }
    match (allowed.contains(&vid), vid == *native) {
        (true, _) => Reach::Must,
        // The page says what the native VLAN is for, not that it must be listed as well.
        (false, true) => Reach::May(Freedom::NativeNotListed),
        (false, false) => Reach::No(Cause::Vlan),
    }
}

/// May a frame go out on a port?
pub fn leave(port: &Port, frame: Inside, tags: Tags) -> Reach {
    let by_vlan = match said(port) {
        None if port.kind == NicKind::External => Reach::Must,
        None => at(&[0], frame.vid),
        Some(Vlan::Access(own)) => {
            let reach = at(&[*own], frame.vid);
            if reach == Reach::Must && frame.private.is_some() {
                Reach::May(Freedom::OrdinaryPortInPrivateVlan)
            } else {
                reach
            }
        }
        Some(Vlan::Private(private)) => to_private(private, frame),
        Some(trunk) => on_trunk(trunk, frame.vid),
    };
    let bare = matches!(said(port), None | Some(Vlan::Access(_) | Vlan::Private(_)))
        && port.kind != NicKind::External;
    by_vlan.and(by_service(port, frame, tags, bare)).and(by_hidden(tags, bare))
}

/// The next tag must not be read for the VLAN of the frame.
fn by_hidden(tags: Tags, bare: bool) -> Reach {
    if tags.hidden && bare { Reach::No(Cause::SecondTag) } else { Reach::Must }
}

/// The same for equipment at the far end that reads service tags: on a trunk one is the outermost tag only where the frame
/// has no other, in the native VLAN.
fn by_service(port: &Port, frame: Inside, tags: Tags, bare: bool) -> Reach {
    let Some(service) = tags.service() else { return Reach::Must };
    match said(port) {
        _ if bare => Reach::No(Cause::Vlan),
        None => Reach::Must,
        Some(Vlan::Trunk { native, .. }) if *native != frame.vid => Reach::Must,
        Some(trunk @ Vlan::Trunk { .. }) => match on_trunk(trunk, service) {
            // A tag may be put around it.
            Reach::No(_) => Reach::May(Freedom::NativeInBytes),
            reach => reach,
        },
        Some(_) => Reach::No(Cause::Vlan),
    }
}

fn at(own: &[u16], vid: u16) -> Reach {
    if own.contains(&vid) { Reach::Must } else { Reach::No(Cause::Vlan) }
}

fn to_private(private: &Private, frame: Inside) -> Reach {
    let (primary, reach) = match private {
        Private::Isolated { primary, .. } => (*primary, at(&[*primary], frame.vid)),
        Private::Community { primary, secondary } => (*primary, at(&[*primary, *secondary], frame.vid)),
        Private::Promiscuous { primary, secondaries } => {
            let mut own: Vec<u16> = secondaries.iter().copied().collect();
            own.push(*primary);
            (*primary, at(&own, frame.vid))
        }
    };
    match (reach, frame.private) {
        (Reach::Must, Some((other, _))) if other != primary => Reach::May(Freedom::SharedSecondary),
        // An isolated and a community port that were given one secondary VLAN.
        (Reach::Must, Some((_, true))) if matches!(private, Private::Community { .. }) => {
            Reach::May(Freedom::SharedSecondary)
        }
        (Reach::Must, None) if frame.vid != 0 => Reach::Must,
        (reach, _) => reach,
    }
}

/// Would the far end of the port take the frame for what it is? `now`: of the bytes and the word that it gets; `preserved`:
/// the tag beside it goes along.
pub fn understood(
    port: &Port,
    frame: Inside,
    before: Tags,
    now: Tags,
    preserved: bool,
) -> Result<(), String> {
    let out_of_band = if preserved { now.out_of_band.map_or(0, |t| t.vid) } else { 0 };
    let inside = now.inside.map_or(0, |t| t.vid);
    if out_of_band != 0 && inside != 0 && !before.hidden {
        return Err(format!("tagged twice, {out_of_band} around {inside}"));
    }
    // A priority tag may be in front of the next one.
    if before.hidden && out_of_band == 0 && inside != frame.vid {
        return Err(format!("in VLAN {} and shown by the tag behind its own", frame.vid));
    }
    let seen = if out_of_band != 0 { out_of_band } else { inside };
    let right = match said(port) {
        None if port.kind == NicKind::External => seen == frame.vid,
        Some(Vlan::Trunk { native, .. }) => seen == frame.vid || seen == 0 && *native == frame.vid,
        _ => seen == 0,
    };
    if right { Ok(()) } else { Err(format!("in VLAN {} and shown as {seen}", frame.vid)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(vlan: Option<Vlan>) -> Port {
        let mut port = Port::new(9, NicKind::Synthetic);
        if let Some(vlan) = vlan {
            port.policies.properties.insert(1, crate::switch::ports::policy::Property::Vlan(vlan));
        }
        port
    }

    #[test]
    fn the_table_of_private_vlans_is_that_of_the_documentation() {
        let isolated = || port(Some(Vlan::Private(Private::Isolated { primary: 10, secondary: 20 })));
        let community = |s| port(Some(Vlan::Private(Private::Community { primary: 10, secondary: s })));
        let promiscuous = || {
            let secondaries = [20, 30, 31].into();
            port(Some(Vlan::Private(Private::Promiscuous { primary: 10, secondaries })))
        };
        let all = [
            isolated(),
            isolated(),
            community(30),
            community(30),
            community(31),
            promiscuous(),
            promiscuous(),
        ];
        let expected = [
            "0000011", //
            "0000011", "0011011", "0011011", "0000111", "1111111", "1111111",
        ];
        for (from, row) in all.iter().zip(expected) {
            let frame = enter(from, Tags::default()).unwrap();
            let reached: String = all
                .iter()
                .map(|to| if leave(to, frame, Tags::default()) == Reach::Must { '1' } else { '0' })
                .collect();
            assert_eq!(reached, row);
        }
    }

    #[test]
    fn a_frame_has_a_type_behind_the_tag_that_says_its_vlan_and_may_end_in_the_next_one() {
        const TAGS: [[u8; 2]; 3] = [[0x81, 0x00], [0x88, 0xA8], [0x91, 0x00]];
        let out_of_band = word(Some(Tag { vid: 5, priority: 0 }));
        let priority = word(Some(Tag { vid: 0, priority: 5 }));
        for outer in TAGS {
            for inner in TAGS {
                let of = |vid: u8| [&[2; 12][..], &outer, &[0, vid], &inner, &[0, 6, 8, 0, 1, 2]].concat();
                for length in 0..of(7).len() {
                    let [in_7, in_0] = [7, 0].map(|vid| of(vid)[..length].to_vec());
                    assert_eq!(is_frame(&in_7, 0), length >= 18, "{length}");
                    assert_eq!(is_frame(&in_7, priority), length >= 18, "{length}");
                    assert_eq!(is_frame(&in_7, out_of_band), length >= 14, "{length}");
                    assert_eq!(is_frame(&in_0, 0), length >= 22, "{length}");
                }
            }
        }
        let untagged = [&[2; 12][..], &[8, 0]].concat();
        assert!(is_frame(&untagged, 0) && !is_frame(&untagged[..13], 0));
    }

    #[test]
    fn a_service_tag_goes_only_where_both_readings_are_allowed() {
        let trunk = port(Some(Vlan::Trunk { native: 1, allowed: [1, 5, 6].into(), pruned: [6].into() }));
        let access = port(Some(Vlan::Access(5)));
        let external = Port::new(1, NicKind::External);
        let tag = |vid| Some(Tag { vid, priority: 0 });
        let alone = |vid| Tags { service: tag(vid), ..Tags::default() };
        let around = |outer, vid| Tags { out_of_band: tag(outer), hidden: true, ..alone(vid) };
        assert_eq!(enter(&trunk, alone(5)).map(|frame| frame.vid), Ok(1));
        assert_eq!(enter(&trunk, alone(6)), Err(Cause::Pruned));
        assert_eq!(enter(&trunk, alone(7)), Err(Cause::Vlan));
        assert_eq!(enter(&trunk, around(5, 7)).map(|frame| frame.vid), Ok(5));
        assert_eq!(enter(&access, alone(5)), Err(Cause::Vlan));
        let outside = enter(&external, alone(7)).unwrap();
        assert_eq!(outside.vid, 0);
        let in_5 = enter(&external, around(5, 7)).unwrap();
        assert_eq!(leave(&access, in_5, around(5, 7)), Reach::No(Cause::SecondTag));
        assert_eq!(leave(&trunk, in_5, around(5, 7)), Reach::Must);
        let native = enter(&external, around(1, 7)).unwrap();
        assert_eq!(leave(&trunk, native, around(1, 7)), Reach::Must);
        assert_eq!(leave(&port(None), outside, alone(7)), Reach::No(Cause::Vlan));
        assert_eq!(leave(&external, enter(&trunk, alone(5)).unwrap(), alone(5)), Reach::Must);
    }

    #[test]
    fn a_tag_in_the_bytes_comes_off_where_none_may_arrive() {
        let trunk = port(Some(Vlan::Trunk { native: 7, allowed: [5, 7].into(), pruned: [].into() }));
        let external = Port::new(1, NicKind::External);
        let frame = |tag: &[u8]| [&[2; 12][..], tag, &[8, 0, 1, 2, 3]].concat();
        let inside = |vid: u8| frame(&[0x81, 0, 0, vid]);
        for (to, vid, arrives) in [
            (port(Some(Vlan::Access(5))), 5, Ok(())),
            (trunk.clone(), 7, Ok(())),
            (port(Some(Vlan::Access(6))), 5, Err(Cause::Vlan)),
            (port(None), 5, Err(Cause::Vlan)),
        ] {
            let before = Tags::of(&inside(vid), 0);
            let entered = enter(&external, before).unwrap();
            let expected = arrives.map_or_else(Reach::No, |()| Reach::Must);
            assert_eq!(leave(&to, entered, before), expected, "{vid}");
            if arrives.is_err() {
                continue;
            }
            // With the tag in its bytes an access port would get it tagged; beside them it may even be kept on a trunk.
            let word = word(Some(Tag { vid: vid.into(), priority: 0 }));
            let bare = Tags::of(&without_tag(&inside(vid)).unwrap(), word);
            assert_eq!(understood(&to, entered, before, bare, false), Ok(()));
            let is_trunk = matches!(said(&to), Some(Vlan::Trunk { .. }));
            assert_eq!(understood(&to, entered, before, before, false).is_ok(), is_trunk);
            assert!(understood(&to, entered, before, Tags::of(&inside(vid), word), true).is_err());
        }
        // What is behind the tag is read when it is off.
        let service = Tags::of(&frame(&[0x81, 0, 0, 5, 0x88, 0xA8, 0, 6]), 0);
        let entered = enter(&external, service).unwrap();
        assert_eq!(leave(&port(Some(Vlan::Access(5))), entered, service), Reach::No(Cause::SecondTag));
        assert_eq!(leave(&trunk, entered, service), Reach::Must);
    }

    #[test]
    fn a_frame_is_never_shown_by_the_tag_behind_its_own() {
        let trunk = |native| port(Some(Vlan::Trunk { native, allowed: [5, 6].into(), pruned: [].into() }));
        let external = Port::new(1, NicKind::External);
        let in_5 = word(Some(Tag { vid: 5, priority: 0 }));
        for (inner, hidden) in [
            (&[][..], false),
            (&[0x81, 0, 0, 0], false),
            (&[0x81, 0, 0, 6], true),
            (&[0x88, 0xA8, 0, 6], true),
            (&[0x91, 0, 0, 5], true),
            (&[0x81, 0, 0, 0, 0x81, 0, 0, 6], true),
            (&[0x88, 0xA8, 0, 0, 0x81, 0, 0, 6], true),
        ] {
            let behind = [&[2; 12][..], inner, &[8, 0, 1, 2, 3]].concat();
            let whole = [&behind[..12], &[0x81, 0, 0, 5], &behind[12..]].concat();
            let now = Tags::of(&behind, in_5);
            for before in [now, Tags::of(&whole, 0)] {
                assert_eq!(before.hidden, hidden, "{inner:x?}");
                let frame = enter(&external, before).unwrap();
                assert_eq!((frame.vid, frame.freedom), (5, None));
                let bare = if hidden { Reach::No(Cause::SecondTag) } else { Reach::Must };
                assert_eq!(leave(&port(Some(Vlan::Access(5))), frame, before), bare, "{inner:x?}");
                let private = Private::Isolated { primary: 5, secondary: 9 };
                assert_eq!(leave(&port(Some(Vlan::Private(private))), frame, before), bare, "{inner:x?}");
                for to in [trunk(0), trunk(5)] {
                    assert_eq!(leave(&to, frame, before), Reach::Must, "{inner:x?}");
                    assert_eq!(understood(&to, frame, before, now, true), Ok(()), "{inner:x?}");
                }
                assert_eq!(understood(&trunk(5), frame, before, now, false).is_ok(), !hidden, "{inner:x?}");
            }
        }
    }

    #[test]
    fn pruning_overrides_the_list_and_a_tag_never_enters_an_access_port() {
        let trunk = port(Some(Vlan::Trunk { native: 1, allowed: [5, 6].into(), pruned: [6].into() }));
        let tagged = |vid| Tags { out_of_band: Some(Tag { vid, priority: 0 }), ..Tags::default() };
        assert_eq!(enter(&trunk, tagged(5)).map(|f| f.vid), Ok(5));
        assert_eq!(enter(&trunk, tagged(6)), Err(Cause::Pruned));
        assert_eq!(enter(&trunk, tagged(7)), Err(Cause::Vlan));
        assert_eq!(enter(&port(Some(Vlan::Access(5))), tagged(5)), Err(Cause::Vlan));
        assert_eq!(enter(&port(None), Tags::default()).map(|f| f.vid), Ok(0));
    }
}
