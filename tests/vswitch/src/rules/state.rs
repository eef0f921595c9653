//! The rules of the life of a module.

use super::Severity::Note;
use super::{Rule, dormant, error, not, switch};

/// Group STATE.
pub const STATE: &[Rule] = &[
    error(
        "STATE-01",
        "All is ready before NdisFRegisterFilterDriver: FilterAttach may come before it returns.",
        "nf-ndis-ndisfregisterfilterdriver",
    ),
    error(
        "STATE-02",
        "UniqueName and ServiceName are those of the INF; revision and size of the characteristics match \
         the NDIS version.",
        "ns-ndis-_ndis_filter_driver_characteristics",
    ),
    error(
        "STATE-03",
        "Handlers that need each other are registered together: requests with completions, receives with \
         status.",
        "nc-ndis-filter_oid_request_complete",
    ),
    error(
        "STATE-04",
        "FilterAttach asks for the switch's handlers with a valid header and does not attach where there \
         is no switch.",
        "nf-ndis-ndisfgetoptionalswitchhandlers",
    ),
    dormant(
        "STATE-05",
        "Handlers of revision 2 are called only if that revision was asked for and returned.",
        "ndis.h",
        "the handlers of revision 1 are asked for, so there is no place for another",
    ),
    error(
        "STATE-06",
        "NdisFSetAttributes is called once in each successful attach.",
        "attaching-a-filter-module",
    ),
    error(
        "STATE-07",
        "While attaching, the module issues no request, packet or indication.",
        "attaching-a-filter-module",
    ),
    error(
        "STATE-08",
        "A failed attach leaves nothing behind: no FilterDetach follows.",
        "nc-ndis-filter_attach",
    ),
    error(
        "STATE-09",
        "Modules of several switches are independent: what belongs to one is not used through another.",
        "inference",
    ),
    error(
        "STATE-10",
        "FilterPause does not fail: success, or PENDING and one NdisFPauseComplete.",
        "nc-ndis-filter_pause",
    ),
    error(
        "STATE-11",
        "A pause completes when the module holds no foreign send and no own list is out; it originates \
         nothing meanwhile.",
        "pausing-a-filter-module",
    ),
    error(
        "STATE-12",
        "Sends that come while pausing or paused are completed at once with NDIS_STATUS_PAUSED.",
        "nc-ndis-filter_send_net_buffer_lists",
    ),
    error(
        "STATE-13",
        "Receives that come while pausing or paused are returned or passed on, not kept.",
        "pausing-a-filter-module",
    ),
    error(
        "STATE-14",
        "Requests and indications flow on while the module is paused.",
        "filter-module-states-and-operations",
    ),
    error(
        "STATE-15",
        "A paused module sends nothing: timers that would are stopped.",
        "pausing-a-filter-module",
    ),
    error("STATE-16", "Nothing is sent before the restart has completed.", "nc-ndis-filter_restart"),
    error(
        "STATE-17",
        "Restart attributes that the module does not know, or that are not there, are left alone.",
        "nc-ndis-filter_restart",
    ),
    error(
        "STATE-18",
        "A running module knows the switch as it is: what was refused, or could not be read, is asked again \
         until it is answered.",
        "querying-the-hyper-v-extensible-switch-configuration",
    ),
    error(
        "STATE-19",
        "The configuration is read once: at the first restart, or at NetEventSwitchActivate if the switch \
         was inactive.",
        "querying-the-hyper-v-extensible-switch-configuration",
    ),
    error("STATE-20", "Every network PnP event is passed on with NdisFNetPnPEvent.", "sample code"),
    error(
        "STATE-21",
        "A request that comes during the first enumeration is handled, at the latest when that is over; \
         the enumeration waits for none.",
        "starting-a-filter-module",
    ),
    error(
        "STATE-22",
        "Nothing is refused for the sole reason that the switch is not active yet.",
        "Open vSwitch",
    ),
    error(
        "STATE-23",
        "FilterDetach does not fail, waits for own requests, work items and timers, and leaves nothing \
         behind.",
        "detaching-a-filter-module",
    ),
    error(
        "STATE-24",
        "After FilterDetach returned, NDIS is not called with the module's handle.",
        "nf-ndis-ndisfindicatestatus",
    ),
    not(
        "STATE-25",
        Note,
        "NetEventFilterPreDetach announces a detach and may be ignored.",
        "netpnp.h",
        "an announcement that may be ignored",
    ),
    error(
        "STATE-26",
        "What callbacks use is freed only after NdisFDeregisterFilterDriver returned.",
        "sample code",
    ),
    error(
        "STATE-27",
        "A DriverEntry that fails deregisters the driver and leaves nothing behind.",
        "sample code",
    ),
    switch(
        "STATE-28",
        "While pausing or restarting no other PnP operation comes; requests, indications and packets do.",
        "pausing-a-filter-module",
    ),
    switch(
        "STATE-29",
        "A stack pauses from the top and restarts from the bottom: after a pause no new sends come from \
         above.",
        "pausing-a-driver-stack",
    ),
    error(
        "STATE-30",
        "A packet's walk is counted before the state is read, so that no send slips past the end of a pause.",
        "sample code",
    ),
    error(
        "STATE-31",
        "A module that is detached and attached again finds the switch as it then is.",
        "mandatory-filter-drivers",
    ),
    error(
        "STATE-32",
        "A one-shot timer's function has returned before the timer is freed, the module detached or the driver \
         unloaded; it is waited for by other means than itself.",
        "nf-ndis-ndiscanceltimerobject",
    ),
    error(
        "STATE-33",
        "When FilterDetach has returned, nothing that the module left under way calls it.",
        "detaching-a-filter-module",
    ),
];
