//! Requests: what the driver is asked from above, and what it asks of those below.

use super::ndis::{EXTERNAL_PORT, NullSwitch, STACK};
use super::probe::{Counting, enter, leave};
use core::ffi::c_void;
use core::mem::offset_of;
use lbfoext::ndis::raw::{
    self, Handle, NicParameters, ObjectHeader, OidRequest, PortParameters, SwitchNicOidRequest,
    SwitchParameters, nic_state, nic_type, object_type, oids, port_state,
};

impl NullSwitch {
    /// A set request from above; those below take it.
    pub fn set<T>(&self, oid: u32, payload: &mut T, length: usize) {
        let mut request = OidRequest {
            header: ObjectHeader::new(object_type::OID_REQUEST, 1, OidRequest::SIZE_REVISION_1),
            request_type: raw::request_type::SET_INFORMATION,
            oid,
            information_buffer: core::ptr::from_mut(payload).cast(),
            length: length as u32,
            ..OidRequest::ZERO
        };
        enter(Counting::Handlers);
        // SAFETY: everything lives through the call, in which the request is completed.
        unsafe { (self.request)(self.module, &mut request) };
        leave(Counting::Handlers);
    }

    /// Somebody asks for the status of the team, which the driver answers.
    ///
    /// # Panics
    /// If it is not answered.
    pub fn team_status(&self) {
        const ROOM: usize = 8 * 1024;
        const CUSTOM: u32 = size_of::<raw::SwitchFeatureStatusParameters>() as u32;
        #[repr(C)]
        struct Asked {
            parameters: raw::SwitchFeatureStatusParameters,
            custom: raw::SwitchFeatureStatusCustom,
            data: [u8; ROOM],
        }
        let parameters = raw::SwitchFeatureStatusParameters {
            header: ObjectHeader::new(object_type::DEFAULT, 1, CUSTOM as u16),
            feature_status_type: raw::feature_status_type::CUSTOM,
            feature_status_id: raw::Guid::from_bytes(lbfoext::requests::status::TEAM),
            feature_status_buffer_offset: CUSTOM,
            ..raw::SwitchFeatureStatusParameters::ZERO
        };
        let custom = raw::SwitchFeatureStatusCustom {
            header: ObjectHeader::new(object_type::DEFAULT, 1, 16),
            feature_status_custom_buffer_offset: size_of::<raw::SwitchFeatureStatusCustom>() as u32,
            ..raw::SwitchFeatureStatusCustom::ZERO
        };
        let mut asked = Box::new(Asked { parameters, custom, data: [0; ROOM] });
        let length = size_of::<Asked>() as u32;
        let mut request = OidRequest {
            header: ObjectHeader::new(object_type::OID_REQUEST, 1, OidRequest::SIZE_REVISION_1),
            request_type: raw::request_type::METHOD,
            oid: oids::SWITCH_FEATURE_STATUS_QUERY,
            information_buffer: (&raw mut *asked).cast(),
            length,
            word52: length,
            ..OidRequest::ZERO
        };
        enter(Counting::Handlers);
        // SAFETY: everything lives through the call, in which the request is completed.
        let status = unsafe { (self.request)(self.module, &mut request) };
        leave(Counting::Handlers);
        assert_eq!(status, raw::SUCCESS);
    }

    /// What happens to a port.
    pub fn port(&self, oid: u32, number: u32) {
        self.set(oid, &mut port(number), PortParameters::SIZE_REVISION_1.into());
    }

    /// What happens to an adapter: a vNIC, or a member on the external port.
    pub fn nic(&self, oid: u32, port: u32, index: u16) {
        let kind = if port == EXTERNAL_PORT { nic_type::EXTERNAL } else { nic_type::SYNTHETIC };
        let [.., high, low] = port.to_be_bytes();
        let mut parameters = nic(port, index, kind, [2, 0, 0, 0, high, low]);
        self.set(oid, &mut parameters, NicParameters::SIZE_REVISION_2.into());
    }

    /// A guest's stack names multicast groups.
    pub fn groups(&self, oid: u32, port: u32, groups: &mut [[u8; 6]]) {
        let mut inner = OidRequest {
            header: ObjectHeader::new(object_type::OID_REQUEST, 1, OidRequest::SIZE_REVISION_1),
            request_type: raw::request_type::SET_INFORMATION,
            oid,
            information_buffer: groups.as_mut_ptr().cast(),
            length: size_of_val(groups) as u32,
            ..OidRequest::ZERO
        };
        let mut envelope = SwitchNicOidRequest {
            header: ObjectHeader::new(object_type::DEFAULT, 1, 32),
            source_port_id: port,
            oid_request: &mut inner,
            ..SwitchNicOidRequest::ZERO
        };
        self.set(oids::SWITCH_NIC_REQUEST, &mut envelope, size_of::<SwitchNicOidRequest>());
    }
}

pub fn link_state(up: bool) -> raw::LinkState {
    raw::LinkState {
        header: ObjectHeader::new(object_type::DEFAULT, 1, 40),
        media_connect_state: if up { 1 } else { 2 },
        xmit_link_speed: 10_000_000_000,
        rcv_link_speed: 10_000_000_000,
        ..raw::LinkState::ZERO
    }
}

pub fn port(number: u32) -> PortParameters {
    PortParameters {
        header: ObjectHeader::new(object_type::DEFAULT, 1, PortParameters::SIZE_REVISION_1),
        port_id: number,
        port_state: port_state::CREATED,
        ..PortParameters::ZERO
    }
}

pub fn nic(port: u32, index: u16, kind: i32, mac: [u8; 6]) -> NicParameters {
    let mut parameters = NicParameters {
        header: ObjectHeader::new(object_type::DEFAULT, 2, NicParameters::SIZE_REVISION_2),
        port_id: port,
        nic_index: index,
        nic_type: kind,
        nic_state: nic_state::CONNECTED,
        ..NicParameters::ZERO
    };
    parameters.current_mac_address[..6].copy_from_slice(&mac);
    parameters.vm_mac_address[..6].copy_from_slice(&mac);
    parameters
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFOidRequest(_: Handle, request: *mut OidRequest) -> i32 {
    // SAFETY: the driver's request and its buffers are valid for the call.
    unsafe {
        let request = &mut *request;
        match request.oid {
            oids::SWITCH_PARAMETERS => {
                let parameters = request.information_buffer.cast::<u8>();
                parameters.add(offset_of!(SwitchParameters, is_active)).write(1);
                // A name of one character.
                parameters
                    .add(offset_of!(SwitchParameters, switch_name))
                    .cast::<[u16; 2]>()
                    .write_unaligned([2, 0x30]);
                request.word52 = u32::from(SwitchParameters::SIZE_REVISION_1);
                raw::SUCCESS
            }
            oids::SWITCH_PORT_ARRAY => STACK.with_borrow(|stack| {
                let adapters = stack.nics.iter().filter(|nic| nic.nic_index == 0);
                write_array(request, &adapters.map(|nic| port(nic.port_id)).collect::<Vec<_>>())
            }),
            oids::SWITCH_NIC_ARRAY => STACK.with_borrow(|stack| write_array(request, &stack.nics)),
            oid if request.request_type == raw::request_type::SET_INFORMATION && oid != 0 => raw::SUCCESS,
            // Ports without properties.
            oids::SWITCH_NIC_REQUEST => {
                let envelope = request.information_buffer.cast::<SwitchNicOidRequest>();
                let inner = &mut *(*envelope).oid_request;
                inner.information_buffer.cast::<raw::LinkState>().write(link_state(true));
                inner.word52 = 40;
                raw::SUCCESS
            }
            _ => raw::NOT_SUPPORTED,
        }
    }
}

/// # Safety
/// The request's buffer has the stated length.
unsafe fn write_array<T: Copy>(request: &mut OidRequest, elements: &[T]) -> i32 {
    const FIRST: usize = 24;
    let size = size_of::<T>();
    let needed = FIRST + size_of_val(elements);
    if (request.length as usize) < needed {
        request.word56 = needed as u32;
        return raw::INVALID_LENGTH;
    }
    // SAFETY: all writes lie in the first `needed` bytes.
    unsafe {
        let base = request.information_buffer.cast::<u8>();
        base.add(8).cast::<u16>().write_unaligned(FIRST as u16);
        base.add(12).cast::<u32>().write_unaligned(elements.len() as u32);
        base.add(16).cast::<u32>().write_unaligned(size as u32);
        for (number, element) in elements.iter().enumerate() {
            base.add(FIRST + number * size).cast::<T>().write_unaligned(*element);
        }
    }
    request.word52 = needed as u32;
    raw::SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFOidRequestComplete(_: Handle, _: *mut OidRequest, _: i32) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFCancelOidRequest(_: Handle, _: *mut c_void) {}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisAllocateCloneOidRequest(
    _: Handle,
    request: *mut OidRequest,
    _: u32,
    clone: *mut *mut OidRequest,
) -> i32 {
    // SAFETY: the driver passes a request and a valid place.
    unsafe { clone.write(Box::into_raw(Box::new(*request))) };
    0
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFreeCloneOidRequest(_: Handle, clone: *mut OidRequest) {
    // SAFETY: made above.
    drop(unsafe { Box::from_raw(clone) });
}
