//! State machines as tables of transitions. The table is the code, and its picture is rendered from the same rows.
//!
//! A row reads `Event | Event [guard]: From | From => To`. Rows are tried from top to bottom, so a row without a guard
//! follows the guarded rows of the same pairs. The rows become one `match` without a wildcard: a pair of state and
//! event that no row covers does not compile, and a row that is never reached is a warning of the compiler.
//!
//! - A guard is a method of the context without arguments that returns `bool`.
//! - `=> To` enters a state, even if it is the state before; `=> To { field: value }` fills in what the state carries.
//! - `=> stays` keeps the state with what it carries, and runs no action.
//! - `entering { State: action, action; State: ; }` is optional and names every state: the actions are methods of the
//!   context that run, in this order, each time the state is entered.
//!
//! Events may carry data; guards and actions find it in the context. A machine that several events drive at one
//! instant, as the receive machine of IEEE 802.1AX, is one enum of states and one enum of events like any other.

/// The transitions of one machine, for pictures and checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transitions {
    pub start: &'static str,
    pub rows: &'static [Row],
    /// Actions that run when a state is entered.
    pub entering: &'static [(&'static str, &'static [&'static str])],
}

/// One row of the table. Names are those of the variants and methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub events: &'static [&'static str],
    pub guard: Option<&'static str>,
    pub from: &'static [&'static str],
    /// `None` if the machine stays where it is.
    pub to: Option<&'static str>,
}

/// Gives the enum of states a function and the table it is made of; the syntax is described in the module.
macro_rules! state_machine {
    (
        $(#[$doc:meta])*
        $function:ident, $table:ident:
        $state:ident on $event:ident with $context:ident: $context_type:ty, from $start:ident
        { $($($on:ident)|+ $([$guard:ident])?: $($from:ident)|+ => $to:ident $({ $($field:tt)* })?;)+ }
        $(entering { $($entered:ident: $($action:ident),*;)+ })?
    ) => {
        impl $state {
            pub const $table: $crate::state_machine::Transitions = $crate::state_machine::Transitions {
                start: stringify!($start),
                rows: &[$($crate::state_machine::Row {
                    events: &[$(stringify!($on)),+],
                    guard: $crate::state_machine::state_machine!(@guard $($guard)?),
                    from: &[$(stringify!($from)),+],
                    to: $crate::state_machine::state_machine!(@name $to),
                }),+],
                entering: &[$($((stringify!($entered), &[$(stringify!($action)),*])),+)?],
            };

            $(#[$doc])*
            fn $function(self, event: $event, $context: $context_type) -> Self {
                let next = match (self, event) {
                    $(($($state::$from { .. })|+, $($event::$on { .. })|+) $(if $context.$guard())? => {
                        $crate::state_machine::state_machine!(@to self $state $to $({ $($field)* })?)
                    })+
                };
                $(match next {
                    $($state::$entered { .. } => { $($context.$action();)* })+
                })?
                next
            }
        }
    };
    (@guard) => { None };
    (@guard $guard:ident) => { Some(stringify!($guard)) };
    (@name stays) => { None };
    (@name $to:ident) => { Some(stringify!($to)) };
    (@to $self:ident $state:ident stays) => { return $self };
    (@to $self:ident $state:ident $to:ident $({ $($field:tt)* })?) => { $state::$to { $($($field)*)? } };
}
pub(crate) use state_machine;

#[cfg(test)]
pub(crate) mod picture {
    //! Pictures of a machine as text, and what a picture would not show at first sight.

    use super::{Row, Transitions};
    use std::borrow::ToOwned;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    impl Row {
        /// The event and its guard.
        fn label(&self, event: &str) -> String {
            self.guard.map_or(event.into(), |guard| format!("{event} [{}]", guard.replace('_', " ")))
        }
    }

    impl Transitions {
        /// In the order of the rows. Every state is a source, or the machine would not compile.
        pub fn states(&self) -> Vec<&'static str> {
            let mut states = Vec::new();
            for &state in self.rows.iter().flat_map(|row| row.from) {
                if !states.contains(&state) {
                    states.push(state);
                }
            }
            states
        }

        /// States that no sequence of events reaches from the start.
        pub fn unreachable(&self) -> Vec<&'static str> {
            let mut reached = Vec::from([self.start]);
            for _ in self.states() {
                for row in self.rows {
                    let open = row.from.iter().any(|from| reached.contains(from));
                    reached.extend(row.to.filter(|to| open && !reached.contains(to)));
                }
            }
            self.states().into_iter().filter(|state| !reached.contains(state)).collect()
        }

        /// A line for each event and guard, a column for each state; `-` where the state stays, nothing where the guard
        /// is not asked.
        pub fn matrix(&self) -> String {
            let states = self.states();
            let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
            for row in self.rows {
                for label in row.events.iter().map(|event| row.label(event)) {
                    let known = lines.iter().position(|(other, _)| *other == label);
                    let line = known.unwrap_or_else(|| {
                        lines.push((label, [""].repeat(states.len())));
                        lines.len() - 1
                    });
                    for (column, _) in states.iter().enumerate().filter(|(_, state)| row.from.contains(state))
                    {
                        lines[line].1[column] = row.to.unwrap_or("-");
                    }
                }
            }
            lines.insert(0, (String::new(), states));
            let first = lines.iter().map(|(label, _)| label.len()).max().unwrap_or(0) + 2;
            let names = self.rows.iter().flat_map(|row| row.from.iter().copied().chain(row.to));
            let width = names.map(str::len).max().unwrap_or(0) + 2;
            let line = |(label, cells): &(String, Vec<&str>)| {
                let cells: String = cells.iter().map(|cell| format!("{cell:<width$}")).collect();
                format!("{label:<first$}{cells}").trim_end().to_owned()
            };
            lines.iter().map(line).collect::<Vec<_>>().join("\n")
        }

        /// A Mermaid state diagram, one arrow for each pair of states. Events that change nothing are left out.
        pub fn mermaid(&self) -> String {
            let mut arrows: Vec<(&str, &str, Vec<String>)> = Vec::new();
            for row in self.rows {
                for (&from, to) in row.from.iter().filter_map(|from| Some((from, row.to?))) {
                    let known = arrows.iter().position(|arrow| (arrow.0, arrow.1) == (from, to));
                    let arrow = known.unwrap_or_else(|| {
                        arrows.push((from, to, Vec::new()));
                        arrows.len() - 1
                    });
                    arrows[arrow].2.extend(row.events.iter().map(|event| row.label(event)));
                }
            }
            let mut text = format!("stateDiagram-v2\n    [*] --> {}", self.start);
            for (from, to, labels) in arrows {
                text += &format!("\n    {from} --> {to} : {}", labels.join(", "));
            }
            for (state, actions) in self.entering.iter().filter(|(_, actions)| !actions.is_empty()) {
                text += &format!("\n    {state} : entry / {}", actions.join(", ").replace('_', " "));
            }
            text
        }
    }

    /// The document contains the picture, each line after `prefix`. Otherwise the message is what to put there.
    pub fn assert_drawn(document: &str, prefix: &str, picture: &str) {
        let lines = picture.lines().map(|line| format!("{prefix}{line}").trim_end().to_owned() + "\n");
        let picture: String = lines.collect();
        assert!(document.contains(&picture), "the document should show:\n{picture}");
    }
}

#[cfg(test)]
mod tests {
    use super::Transitions;
    use super::picture::assert_drawn;
    use std::string::ToString;
    use std::vec::Vec;

    /// A toy in the manner of a receive machine: data in a state, guards, several sources and events, entry actions.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Receive {
        Disabled,
        Expired { since: u32 },
        Current,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Event {
        Enabled,
        Disabled,
        Frame(u8),
        Tick,
    }

    #[derive(Debug, Default)]
    struct Partner {
        now: u32,
        timer: u32,
        done: Vec<&'static str>,
    }

    impl Partner {
        fn timer_expired(&self) -> bool {
            self.now >= self.timer
        }

        fn record(&mut self) {
            self.done.push("record");
        }

        fn start_timer(&mut self) {
            self.done.push("start timer");
            self.timer = self.now + 3;
        }

        fn set_defaults(&mut self) {
            self.done.push("set defaults");
        }
    }

    state_machine! {
        /// The next state.
        on, TRANSITIONS: Receive on Event with partner: &mut Partner, from Disabled
        {
            Enabled: Disabled => Expired { since: partner.now };
            Enabled: Expired | Current => stays;
            Disabled: Disabled => stays;
            Disabled: Expired | Current => Disabled;
            Frame: Disabled => stays;
            Frame: Expired | Current => Current;
            Tick [timer_expired]: Expired => Disabled;
            Tick [timer_expired]: Current => Expired { since: partner.now };
            Tick: Disabled | Expired | Current => stays;
        }
        entering {
            Disabled: set_defaults;
            Expired: start_timer;
            Current: record, start_timer;
        }
    }

    #[test]
    fn guards_data_several_sources_and_entry_actions_work() {
        let steps = [
            (0, Event::Frame(1), Receive::Disabled, &[][..]),
            (1, Event::Enabled, Receive::Expired { since: 1 }, &["start timer"]),
            (2, Event::Enabled, Receive::Expired { since: 1 }, &[]),
            (2, Event::Frame(2), Receive::Current, &["record", "start timer"]),
            (3, Event::Frame(3), Receive::Current, &["record", "start timer"]),
            (5, Event::Tick, Receive::Current, &[]),
            (6, Event::Tick, Receive::Expired { since: 6 }, &["start timer"]),
            (8, Event::Tick, Receive::Expired { since: 6 }, &[]),
            (9, Event::Tick, Receive::Disabled, &["set defaults"]),
            (9, Event::Disabled, Receive::Disabled, &[]),
        ];
        let (mut state, mut partner) = (Receive::Disabled, Partner::default());
        for (now, event, expected, done) in steps {
            partner.now = now;
            state = state.on(event, &mut partner);
            assert_eq!((state, core::mem::take(&mut partner.done)), (expected, done.to_vec()), "{event:?}");
        }
    }

    #[test]
    fn a_table_renders_its_matrix_and_its_diagram() {
        let matrix = "
                      Disabled  Expired   Current
Enabled               Expired   -         -
Disabled              -         Disabled  Disabled
Frame                 -         Current   Current
Tick [timer expired]            Disabled  Expired
Tick                  -         -         -";
        assert_eq!(Receive::TRANSITIONS.matrix(), matrix.trim_start_matches('\n'));
        let diagram = "
stateDiagram-v2
    [*] --> Disabled
    Disabled --> Expired : Enabled
    Expired --> Disabled : Disabled, Tick [timer expired]
    Current --> Disabled : Disabled
    Expired --> Current : Frame
    Current --> Current : Frame
    Current --> Expired : Tick [timer expired]
    Disabled : entry / set defaults
    Expired : entry / start timer
    Current : entry / record, start timer";
        assert_eq!(Receive::TRANSITIONS.mermaid(), diagram.trim_start());
    }

    #[test]
    fn a_state_that_nothing_reaches_is_named() {
        assert_eq!(Receive::TRANSITIONS.unreachable(), [""; 0]);
        let without = |to| {
            let rows = Receive::TRANSITIONS.rows.iter().copied().filter(|row| row.to != Some(to));
            Transitions { rows: rows.collect::<Vec<_>>().leak(), ..Receive::TRANSITIONS }.unreachable()
        };
        assert_eq!(without("Current"), ["Current"]);
        assert_eq!(without("Expired"), ["Expired", "Current"]);
    }

    #[test]
    #[should_panic(expected = "the document should show:\n//! stateDiagram-v2")]
    fn a_picture_that_has_drifted_fails() {
        let now = Receive::TRANSITIONS.mermaid();
        let document: Vec<_> =
            now.lines().map(|line| ["//! ", &line.replace("Frame", "Packet")].concat()).collect();
        assert_drawn(&(document.join("\n") + "\n").to_string(), "//! ", &now);
    }
}
