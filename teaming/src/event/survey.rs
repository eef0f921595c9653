//! The survey of a host: what arrives from Windows, one record of bounded text for each arrival, in the order of a running
//! number that shows what is missing. `Survey` on in the registry; `teamctl survey` reads the records.
//!
//! A record is a kind and at most five numbers: codes, lengths, headers, indexes. It holds no byte of a packet, no address
//! and no name. Its text is `#number name=value name=value ...`.

use crate::Storage;
use crate::event::text::Text;
use crate::ids::Ticks;

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Number,
    /// A number up to 65535.
    Half,
    /// A number up to 255.
    Byte,
    Hex,
    /// An NDIS_OBJECT_HEADER as type.revision.size; `head` packs it.
    Head,
    /// The word at this place.
    Word(&'static [&'static str]),
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $lead:literal $lead_form:expr $(, $name:literal $form:expr)*;)*) => {
        /// What a record is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum About {
            $($(#[$doc])* $kind),*
        }

        /// Every kind of record.
        pub const ABOUTS: &[About] = &[$(About::$kind),*];

        impl About {
            /// Name and form of each number. The first name tells the kind.
            pub const fn fields(self) -> &'static [(&'static str, Form)] {
                match self {
                    $(Self::$kind => &[($lead, $lead_form) $(, ($name, $form))*]),*
                }
            }
        }
    };
}

const NO_YES: Form = Form::Word(&["no", "yes"]);
/// The type of a request: `kind` numbers them.
const TYPE: Form = Form::Word(&["query", "set", "method", "other"]);
const ARRAY: Form = Form::Word(&["ports", "nics"]);

kinds! {
    /// Where recording begins or ends: with the first restart of the extension, or by the setting; `full` is the last
    /// record of an attachment.
    Survey "survey" Form::Word(&["start", "on", "off", "full"]);
    /// So many records were lost until now, in all.
    Lost "lost" Form::Number;
    /// A request from above, before anything is done with it: lengths of the information buffer and of a method's output.
    Request "oid" Form::Hex, "as" TYPE, "in" Form::Number, "out" Form::Number, "head" Form::Head;
    /// How it ended: bytes written or read, bytes needed, SupportedRevision.
    End "end" Form::Hex, "status" Form::Hex, "done" Form::Number, "need" Form::Number, "rev" Form::Byte;
    /// The request in an envelope from above, and the index of the NIC that it is for.
    Inner "inner" Form::Hex, "as" TYPE, "in" Form::Number, "to" Form::Half, "head" Form::Head;
    /// The id of what a member allocated or is asked to free.
    Id "id" Form::Number, "oid" Form::Hex, "to" Form::Byte, "status" Form::Hex;
    /// How the driver's own query ended: of a member, or of the switch with 0.
    Ask "ask" Form::Hex, "to" Form::Byte, "status" Form::Hex, "done" Form::Number, "need" Form::Number;
    /// What a member's link was said to be, and how: by a status, by the answer to OID_GEN_LINK_STATE or by the
    /// interface's row, which took so many microseconds.
    Link "link" Form::Word(&["unknown", "down", "up", "none"]), "to" Form::Byte,
        "by" Form::Word(&["status", "query", "row"]), "status" Form::Hex, "us" Form::Number;
    /// A status indication of a NIC: the code inside, the NIC's index, the inner buffer's size, the envelope's header.
    Status "status" Form::Hex, "nic" Form::Half, "size" Form::Number, "head" Form::Head, "ext" NO_YES;
    /// Any other status indication.
    Other "other" Form::Hex, "size" Form::Number;
    /// An array of the switch: elements announced, understood, bytes of each.
    Array "array" ARRAY, "count" Form::Number, "read" Form::Number, "each" Form::Number;
    /// The headers of its first element and of itself; elements whose header is another.
    Shape "shape" ARRAY, "first" Form::Head, "head" Form::Head, "odd" Form::Number;
    /// A property of a port by its type: of the external port, header and length of its structure, how it came.
    Property "property" Form::Byte, "ext" NO_YES, "head" Form::Head, "len" Form::Number,
        "by" Form::Word(&["add", "update", "delete", "read"]);
    /// What a VLAN property says: its mode, and the access, native or primary VLAN.
    Vlan "vlan" Form::Word(&["unknown", "access", "trunk", "private", "other"]), "id" Form::Half, "ext" NO_YES;
    /// A NIC of the external port: its index, how it came, a digest of its adapter's GUID (0 for none).
    Nic "nic" Form::Half,
        "via" Form::Word(&["create", "connect", "update", "disconnect", "delete", "array"]), "guid" Form::Hex;
    /// The lengths that a save or restore states: SaveDataSize and SaveDataOffset.
    Save "save" Form::Number, "at" Form::Number;
    /// Whether the switch is active at the restart, or became it.
    Switch "switch" Form::Word(&["idle", "active", "activated"]), "head" Form::Head;
}

/// Most numbers of a record.
pub const NUMBERS: usize = 5;

/// What arrived: a kind, and its numbers in the order of `About::fields`. Words are given by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// From 1; 0 before it has one.
    pub number: u16,
    pub about: About,
    pub numbers: [u32; NUMBERS],
}

impl Record {
    /// Before it is used.
    pub const EMPTY: Self = Self { number: 0, about: About::Lost, numbers: [0; NUMBERS] };

    /// As text; at most 79 characters, which a test holds.
    #[inline(never)] // a frame of its own
    pub fn write<const N: usize>(&self, out: &mut Text<N>) {
        out.byte(b'#');
        out.number(self.number.into());
        for (&(name, form), &number) in self.about.fields().iter().zip(&self.numbers) {
            out.byte(b' ');
            out.str(name);
            out.byte(b'=');
            let [low, half, ..] = number.to_le_bytes();
            match form {
                Form::Number => out.number(number.into()),
                Form::Half => out.number(u16::from_le_bytes([low, half]).into()),
                Form::Byte => out.number(low.into()),
                Form::Hex => out.hex(number),
                Form::Head => write_head(number, out),
                Form::Word(words) => {
                    out.str(usize::try_from(number).ok().and_then(|at| words.get(at)).unwrap_or(&"?"));
                }
            }
        }
    }
}

fn write_head<const N: usize>(head: u32, out: &mut Text<N>) {
    let [kind, revision, low, high] = head.to_le_bytes();
    out.number(kind.into());
    out.byte(b'.');
    out.number(revision.into());
    out.byte(b'.');
    out.number(u16::from_le_bytes([low, high]).into());
}

/// The first four bytes of a structure, which are its NDIS_OBJECT_HEADER if it has one; 0 of a shorter one.
pub fn head(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().map_or(0, |head| u32::from_le_bytes(*head))
}

/// Number of records that may wait to be written.
pub const WAITING: usize = 512;
/// The last number that is given: nothing of an attachment is recorded after it.
pub const LAST: u16 = u16::MAX;

/// The records of one attachment that wait to be written, `WAITING` long.
pub struct Survey<S: Storage> {
    waiting: S::Of<(Ticks, Record)>,
    /// Numbers of records put into the queue and taken out of it, ever.
    put: usize,
    taken: usize,
    /// The last number that was given.
    number: u16,
    /// Records that were numbered and not written, and how many of them have been told.
    lost: u32,
    told: u32,
}

impl<S: Storage> Survey<S> {
    /// An element of the storage before it is used.
    pub const NONE: (Ticks, Record) = (Ticks::ZERO, Record::EMPTY);

    pub fn new(waiting: S::Of<(Ticks, Record)>) -> Self {
        Self { waiting, put: 0, taken: 0, number: 0, lost: 0, told: 0 }
    }

    /// Numbers a record and keeps it, or counts it as lost without room. The one with the last number is `full` in place
    /// of it; whatever comes after that is counted alone. Constant time.
    pub fn put(&mut self, now: Ticks, about: About, numbers: [u32; NUMBERS]) {
        if self.number == LAST {
            return self.lose();
        }
        self.number = self.number.saturating_add(1);
        let mut record = Record { number: self.number, about, numbers };
        if self.number == LAST {
            (record.about, record.numbers) = (About::Survey, [3, 0, 0, 0, 0]);
            self.lose();
        }
        let slots = self.waiting.len();
        let at = self.put.checked_rem(slots).unwrap_or(0);
        match self.waiting.get_mut(at) {
            Some(place) if self.put.wrapping_sub(self.taken) < slots => {
                *place = (now, record);
                self.put = self.put.wrapping_add(1);
            }
            _ => self.lose(),
        }
    }

    fn lose(&mut self) {
        self.lost = self.lost.saturating_add(1);
    }

    /// The record to write next: the oldest that waits, then, if that is to be told, how many were lost. That one has a
    /// number too while there are any.
    pub fn take(&mut self, now: Ticks, tell: bool) -> Option<(Ticks, Record)> {
        if self.put == self.taken {
            if !tell || !self.is_behind() {
                return None;
            }
            self.told = self.lost;
            if self.number != LAST {
                self.number = self.number.saturating_add(1);
            }
            let record = Record { number: self.number, about: About::Lost, numbers: [self.lost, 0, 0, 0, 0] };
            return Some((now, record));
        }
        let at = self.taken.checked_rem(self.waiting.len()).unwrap_or(0);
        self.taken = self.taken.wrapping_add(1);
        self.waiting.get(at).copied()
    }

    /// Whether losses are left to be told. After the last number they are told when there are twice as many, so that this
    /// ends, too.
    pub const fn is_behind(&self) -> bool {
        self.lost != self.told && (self.number != LAST || self.lost >= self.told.saturating_mul(2))
    }

    /// A record could not be written: it is lost, or what it told of losses is told again.
    pub fn refused(&mut self, about: About) {
        match about {
            About::Lost => self.told = 0,
            _ => self.lose(),
        }
    }
}
