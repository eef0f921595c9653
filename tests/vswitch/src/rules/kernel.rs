//! The rules of IRQL, locks and memory.

use super::Severity::{Error, Note, Warning};
use super::{Rule, error, not, switch, warning};

/// Groups IRQL, LOCK and MEM.
pub const KERNEL: &[Rule] = &[
    error("IRQL-01", "A function is called only at the IRQL that its page allows.", "each function's page"),
    error("IRQL-02", "A callback returns at the IRQL at which it was called.", "inference"),
    error(
        "IRQL-03",
        "At DISPATCH_LEVEL nothing waits, and no paged memory, registry or file is touched.",
        "inference",
    ),
    switch(
        "IRQL-04",
        "FilterOidRequest is called at PASSIVE_LEVEL and at DISPATCH_LEVEL, before the first restart is over at \
         PASSIVE_LEVEL.",
        "nc-ndis-filter_oid_request",
    ),
    error(
        "IRQL-05",
        "Work that needs PASSIVE_LEVEL goes to a work item or a system thread, which ends itself; detach waits \
         for it, and none outlives the driver.",
        "nf-wdm-psterminatesystemthread",
    ),
    switch(
        "IRQL-06",
        "Packet handlers run on all processors at once; requests and changes of state come one by one.",
        "filtering-oid-requests-in-an-ndis-filter-driver",
    ),
    switch(
        "IRQL-07",
        "Packet handlers are called at PASSIVE_LEVEL and at DISPATCH_LEVEL, with the flag that says so or \
         without it.",
        "dispatch-irql-tracking",
    ),
    not(
        "IRQL-08",
        Note,
        "FilterRestart and FilterNetPnPEvent may wait for own requests; FilterAttach issues none.",
        "attaching-a-filter-module",
        "an allowance; a request of FilterAttach is OID-23, a wait elsewhere OID-25",
    ),
    error(
        "LOCK-01",
        "No lock is held across a call that leaves the module: it may call back on the same thread.",
        "inference",
    ),
    not(
        "LOCK-02",
        Note,
        "The switch's handlers for packets may be called under a lock: they do not call back.",
        "adding-extensible-switch-destination-port-data-to-a-packet",
        "an allowance; what is held too long is LOCK-HOLD",
    ),
    error(
        "LOCK-03",
        "A lock is released on every path, by who took it, and AT_DISPATCH_LEVEL is said only at \
         DISPATCH_LEVEL.",
        "Open vSwitch",
    ),
    error("LOCK-04", "Nothing waits while it holds a lock, and nothing waits for ever.", "Open vSwitch"),
    warning("LOCK-05", "Locks are always taken in the same order.", "inference"),
    error(
        "LOCK-06",
        "A read/write lock is not fair: while a writer waits, no thread takes it for reading more than four \
         times.",
        "nf-ndis-ndisallocaterwlock",
    ),
    error(
        "LOCK-07",
        "Rundown protection is taken and given back in a critical region or from APC_LEVEL on, so that its \
         holder is not suspended.",
        "run-down-protection",
    ),
    error(
        "LOCK-08",
        "Rundown protection is initialised before its first use; a cache-aware one is said to be completed \
         before it is re-initialised.",
        "run-down-protection",
    ),
    error(
        "LOCK-HOLD",
        "One hold of a lock commits at most 32 packets and 64 destinations.",
        "guidelines-for-writing-dpc-routines",
    ),
    error(
        "MEM-01",
        "What is used at DISPATCH_LEVEL or by NDIS is non-paged and not executable.",
        "inference",
    ),
    error(
        "MEM-02",
        "What was allocated is freed once, with its tag and unharmed; nothing is left after detach and \
         unload.",
        "detaching-a-filter-module",
    ),
    error(
        "MEM-03",
        "Memory that cannot be had costs a packet, not the machine: no call may end in a bug check for it.",
        "Open vSwitch",
    ),
    not(
        "MEM-04",
        Error,
        "A clone that could not be allocated leaves no count behind for which detach would wait.",
        "sample code",
        "a count that is left ends as a wait for ever, which is LOCK-04",
    ),
    error(
        "MEM-05",
        "A pool of lists belongs to the module and is freed when its lists are back.",
        "filter-driver-buffer-management",
    ),
    error(
        "MEM-06",
        "A list is freed by the function that fits how it was made.",
        "cloned-net-buffer-list-structures",
    ),
    not(
        "MEM-07",
        Error,
        "A clone has no NET_BUFFER_LIST_CONTEXT until one is allocated.",
        "cloned-net-buffer-list-structures",
        "a context that is not there and is used ends the process",
    ),
    not(
        "MEM-08",
        Warning,
        "Backfill and context sizes come with the restart attributes; pools follow them while restarting.",
        "filter-driver-buffer-management",
        "the restart attributes of this switch carry no such sizes",
    ),
    error(
        "MEM-09",
        "No panic crosses into the kernel, and memory that others may write is read as such.",
        "inference",
    ),
    error(
        "MEM-10",
        "An entry of the error log is of the driver's object, has at most ERROR_LOG_MAXIMUM_SIZE bytes, and its \
         strings and nothing else behind its header.",
        "ns-wdm-_io_error_log_packet",
    ),
    error(
        "MEM-11",
        "A provider of trace events is registered, asked and written to with its handle, and unregistered once, before \
         the driver goes.",
        "nf-wdm-etwunregister",
    ),
    error(
        "MEM-12",
        "A trace event is of memory that lives, and its metadata describe its data to the last byte.",
        "nf-wdm-etwwritetransfer",
    ),
];
