//! A port of a physical switch.

/// What is cabled to a port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Port {
    Member(u16),
    /// All members as one.
    Team,
    Host(u16),
    /// The other switch.
    Link,
}
