//! The rules of properties and feature status.

use super::Severity::{Error, Switch};
use super::{Rule, error, not, switch};

/// Group PROP.
pub const PROP: &[Rule] = &[
    switch(
        "PROP-01",
        "Built-in policies stay with the switch; standard and custom properties come to extensions as sets.",
        "overview-of-port-policies",
    ),
    error("PROP-02", "The payload of a property request is read-only.", "managing-port-policies"),
    error(
        "PROP-03",
        "A VLAN property is enforced, or refused with NDIS_STATUS_DATA_NOT_ACCEPTED.",
        "overview-of-port-policies",
    ),
    error(
        "PROP-04",
        "A standard property that was taken over is passed on, not completed.",
        "managing-port-policies",
    ),
    error(
        "PROP-05",
        "A forwarding extension completes its own custom property itself, and no one else's.",
        "managing-port-policies",
    ),
    error(
        "PROP-06",
        "A property that the extension does not manage is passed on unchanged.",
        "managing-port-policies",
    ),
    error("PROP-07", "PropertyId means nothing for a standard property.", "managing-port-policies"),
    error(
        "PROP-08",
        "A custom property is updated or deleted by its version and instance; an unknown one is \
         NDIS_STATUS_INVALID_PARAMETER.",
        "managing-switch-policies",
    ),
    error(
        "PROP-09",
        "A property is refused with NDIS_STATUS_DATA_NOT_ACCEPTED when added or updated, and not with \
         success.",
        "receiving-oid-requests-about-hyper-v-extensible-switch-configuration-changes",
    ),
    error(
        "PROP-10",
        "A buffer too short for an own property is NDIS_STATUS_INVALID_LENGTH with BytesNeeded of the set.",
        "oid-switch-port-property-add",
    ),
    error(
        "PROP-11",
        "A property's body is found by its offset and length, which are checked against the buffer.",
        "ns-ntddndis-_ndis_switch_port_property_parameters",
    ),
    not(
        "PROP-12",
        Error,
        "Several instances of a custom property live side by side on one port.",
        "ns-ntddndis-_ndis_switch_port_property_parameters",
        "the extension declares no property and no feature status of its own",
    ),
    error("PROP-13", "A property with a newer minor version of a known layout is accepted.", "ntddndis.h"),
    error("PROP-14", "A property that a driver below refuses is taken back.", "managing-port-policies"),
    error(
        "PROP-15",
        "Properties from before the attach are enumerated: nobody adds them again.",
        "querying-the-hyper-v-extensible-switch-configuration",
    ),
    error("PROP-16", "A security property is always passed on: the switch uses it too.", "sample code"),
    error(
        "PROP-17",
        "A feature status is answered only by its owner; others pass the query on.",
        "managing-custom-switch-feature-status-information",
    ),
    error(
        "PROP-18",
        "An answer with a feature status writes its version, length and data where the query says, and no \
         other field.",
        "ns-ntddndis-_ndis_switch_feature_status_custom",
    ),
    error(
        "PROP-19",
        "A query without room for the answer is NDIS_STATUS_INVALID_LENGTH with BytesNeeded of the method.",
        "managing-custom-switch-feature-status-information",
    ),
    error(
        "PROP-20",
        "A feature status may grow between two queries: it is measured anew and never overflows the buffer.",
        "inference",
    ),
    not(
        "PROP-21",
        Switch,
        "ExtensionId of a property's MOF class is NetCfgInstanceId of the INF.",
        "custom-port-property-definition-and-registration",
        "a matter of the package, which has tests of its own",
    ),
    error(
        "PROP-22",
        "Properties of a validation port are checked, not enforced, and go with it.",
        "validation-ports",
    ),
    error(
        "PROP-23",
        "Property types that are unknown here are passed on, not refused.",
        "ne-ntddndis-_ndis_switch_port_property_type",
    ),
];
