//! The operations of a test on port policies and multicast groups.

use super::net::Net;
use crate::switch::control::envelope::{self, Inner};
use crate::switch::control::lifecycle;
use crate::switch::control::properties::{self, Change, Damage};
use crate::switch::control::{Answer, below::Plan};
use crate::switch::ndis::with;
use crate::switch::ports::policy::{Property, Told};
use crate::switch::ports::{Mac, Nic, NicId, NicKind};

/// OIDs of group membership, encapsulated in OID_SWITCH_NIC_REQUEST.
const MULTICAST_LIST: u32 = 0x0101_0103;
const ADD_MULTICAST: u32 = 0x0101_0208;
const DELETE_MULTICAST: u32 = 0x0101_0209;

impl Net {
    /// Adds a property with an instance number to a port; returns whether it is in effect.
    pub fn add_property(&self, port: u32, instance: u64, property: Property) -> bool {
        self.change_property(Change::new(port, instance, property), false)
    }

    /// Changes a property of a port.
    pub fn update_property(&self, port: u32, instance: u64, property: Property) -> bool {
        self.change_property(Change::new(port, instance, property), true)
    }

    pub fn change_property(&self, change: Change, update: bool) -> bool {
        let module = self.1;
        self.inside(move || properties::provision(module, change, update)).unwrap_or(false)
    }

    /// Adds a property that the switch refuses after the extension has forwarded it.
    pub fn property_refused_below(&self, port: u32, instance: u64, property: Property, update: bool) {
        let plan = Plan { status: lbfoext::ndis::raw::FAILURE, completion: None };
        self.change_property(Change { plan, ..Change::new(port, instance, property) }, update);
    }

    /// Adds a property with a PropertyId that has no meaning, or of a newer minor version.
    pub fn add_property_told(&self, port: u32, instance: u64, property: Property, told: Told) -> bool {
        self.change_property(Change::new(port, instance, property).told(told), false)
    }

    /// Adds a property or, if one of its type exists, updates it; does nothing if the port does not exist.
    pub fn add_property_if_there(&self, port: u32, property: Property) {
        let module = self.1;
        self.inside(move || {
            let instance = 100 + u64::try_from(property.kind()).unwrap_or(0);
            let known = with(|_, s| {
                let policies = s.modules[module].topology.policies(port)?;
                let same = |p: &&u64| policies.properties[*p].kind() == property.kind();
                Some(policies.properties.keys().find(same).copied())
            });
            if let Some(known) = known {
                let change = Change::new(port, known.unwrap_or(instance), property);
                properties::provision(module, change, known.is_some());
            }
        });
    }

    /// Changes the address of a NIC if it is connected; the switch updates no others.
    pub fn readdress_if_connected(&self, nic: NicId, mac: Mac) {
        let module = self.1;
        self.inside(move || {
            if with(|_, s| s.is_connected(module, nic)) {
                lifecycle::update(module, nic, mac);
            }
        });
    }

    /// Deletes the n-th property of a port, if it exists.
    pub fn remove_nth_property(&self, port: u32, n: usize) {
        let module = self.1;
        self.inside(move || {
            let instance = with(|_, s| {
                s.modules[module].topology.policies(port).and_then(|p| p.properties.keys().nth(n).copied())
            });
            if let Some(instance) = instance {
                properties::withdraw(module, port, instance);
            }
        });
    }

    pub fn remove_property(&self, port: u32, instance: u64) -> bool {
        let module = self.1;
        self.inside(move || properties::withdraw(module, port, instance)).unwrap_or(false)
    }

    pub fn damaged_property(&self, port: u32, property: Property, damage: Damage) -> Option<Answer> {
        let module = self.1;
        self.attached(move || properties::damaged(module, &Change::new(port, 99, property), damage))
    }

    /// Issues a request about a custom property of the switch.
    pub fn switch_property(&self, oid: u32, id: [u8; 16], instance: u64) -> Option<Answer> {
        let module = self.1;
        self.attached(move || properties::switch_property(module, oid, id, instance))
    }

    pub fn feature_status(&self, port: Option<u32>, id: [u8; 16], room: usize) -> Option<Answer> {
        let module = self.1;
        self.attached(move || properties::feature_status(module, port, id, room))
    }

    /// Sets policies on a validation port, which is then deleted, with or without TEARDOWN before the DELETE.
    pub fn try_policies(&self, port: u32, tried: &[Property]) {
        self.open_validation_port(port, tried);
        self.close_validation_port(port);
    }

    /// Creates a validation port with policies, which exists until it is closed.
    pub fn open_validation_port(&self, port: u32, tried: &[Property]) {
        let module = self.1;
        self.inside(move || {
            if lifecycle::create_validation_port(module, port) {
                for (instance, property) in (1..).zip(tried) {
                    properties::provision(module, Change::new(port, instance, property.clone()), false);
                }
            }
        });
    }

    pub fn close_validation_port(&self, port: u32) {
        let module = self.1;
        self.inside(move || {
            if with(|world, _| world.chance(1, 2)) {
                lifecycle::delete_port(module, port)
            } else {
                lifecycle::delete_port_at_once(module, port)
            }
        });
    }

    /// Creates a NIC without connecting it: a VM's with its port, or a member.
    pub fn create_only(&self, nic: NicId) {
        let module = self.1;
        let mac = self.mac(nic);
        self.inside(move || {
            if nic.index != 0 || lifecycle::create_port(module, nic.port, NicKind::Synthetic) {
                lifecycle::create_nic(module, nic, mac);
            }
        });
    }

    /// A NIC's creation is forwarded by the extension and fails below.
    pub fn fail_to_create(&self, nic: NicId) {
        let module = self.1;
        let mac = self.mac(nic);
        self.inside(move || {
            if lifecycle::create_port(module, nic.port, NicKind::Synthetic) {
                let plan = Plan { status: lbfoext::ndis::raw::FAILURE, completion: None };
                lifecycle::create_nic_as(module, nic, mac, plan, true);
            }
        });
    }

    /// A NIC is created; its connection is forwarded by the extension and fails below. Then it is disconnected and
    /// deleted by requests.
    pub fn fail_to_connect(&self, nic: NicId) {
        let module = self.1;
        let mac = self.mac(nic);
        self.inside(move || {
            let port = nic.index != 0 || lifecycle::create_port(module, nic.port, NicKind::Synthetic);
            if port && lifecycle::create_nic(module, nic, mac) {
                let plan = Plan { status: lbfoext::ndis::raw::FAILURE, completion: None };
                lifecycle::connect_as(module, nic, plan);
                lifecycle::disconnect(module, nic);
                lifecycle::delete_nic(module, nic);
                if nic.index == 0 {
                    lifecycle::delete_port(module, nic.port);
                }
            }
        });
    }

    pub fn rename_port(&self, port: u32) {
        let module = self.1;
        self.inside(move || {
            if with(|_, s| s.modules[module].topology.policies(port).is_some()) {
                lifecycle::update_port(module, port);
            }
        });
    }

    // Groups.

    pub fn join(&self, nic: NicId, group: Mac) {
        self.groups(nic, ADD_MULTICAST, &[group], |nic, changed| {
            nic.groups.get_or_insert_default().extend(changed);
        });
    }

    pub fn leave(&self, nic: NicId, group: Mac) {
        self.groups(nic, DELETE_MULTICAST, &[group], |nic, changed| {
            nic.groups.get_or_insert_default().remove(&changed[0]);
            nic.joined_before.remove(&changed[0]);
        });
    }

    /// Sets the whole multicast list.
    pub fn set_groups(&self, nic: NicId, all: &[Mac]) {
        self.groups(nic, MULTICAST_LIST, all, |nic, changed| {
            nic.groups = Some(changed.iter().copied().collect());
            nic.joined_before.clear();
        });
    }

    fn groups(&self, nic: NicId, oid: u32, macs: &[Mac], change: fn(&mut Nic, &[Mac])) {
        let module = self.1;
        let inner = Inner::set(oid, macs.concat());
        self.attached(move || {
            if with(|_, s| !s.is_connected(module, nic)) {
                return;
            }
            with(|_, s| s.modules[module].topology.unsettled());
            envelope::ask(module, nic, NicId::NOWHERE, &inner, Plan::default(), false);
            with(|_, s| {
                let topology = &mut s.modules[module].topology;
                if let Some(nic) = topology.nic_mut(nic) {
                    change(nic, macs);
                }
                topology.settled();
            });
        });
    }
}
