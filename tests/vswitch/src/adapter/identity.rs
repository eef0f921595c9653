//! What the operating system calls a physical adapter: NetCfgInstanceId, which stays, and a name, which can be anything in
//! UTF-16 (ns-ntddndis-_ndis_switch_nic_parameters).

/// A GUID as it lies in memory.
pub type Id = [u8; 16];

/// The adapter that the switch has bound under an index, whatever that index is today.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The number of the adapter, of which its NetCfgInstanceId is made.
    pub number: u16,
    /// NicFriendlyName, UTF-16.
    pub name: Vec<u16>,
    /// NetCfgInstanceId is valid when the NIC is connected; otherwise an update brings it.
    pub initialized: bool,
}

impl Identity {
    pub fn new(number: u16) -> Self {
        Self { number, name: friendly_name(number), initialized: true }
    }
}

/// What NIC parameters say of a physical adapter.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Told {
    pub id: Id,
    pub name: Vec<u16>,
}

/// The name of an adapter with this number: of four, one is as long as the structure allows and one is no valid UTF-16.
pub fn friendly_name(number: u16) -> Vec<u16> {
    let plain = format!("Simulated 10/25GbE Adapter #{number}");
    match number % 4 {
        0 => format!("Simulated{} Adapter #{number}", " very".repeat(60)).encode_utf16().take(256).collect(),
        3 => plain.encode_utf16().chain([0xD800, 0x202E, 0x0007, 0xDFFF]).collect(),
        _ => plain.encode_utf16().collect(),
    }
}

/// NetCfgInstanceId of a physical adapter of a switch.
pub fn instance_id(switch: usize, number: u16) -> Id {
    let mut id = *b"adapter         ";
    id[8] = switch as u8;
    id[10..12].copy_from_slice(&number.to_le_bytes());
    id
}

/// The switch and the number of a physical adapter that has this NetCfgInstanceId.
pub fn of_instance(id: Id) -> Option<(usize, u16)> {
    let (switch, number) = (usize::from(id[8]), u16::from_le_bytes([id[10], id[11]]));
    (instance_id(switch, number) == id).then_some((switch, number))
}
