// What both witnesses share: the life of a filter module of the extensible switch, its requests, its status.
#pragma once

#include "ndis.h"

#define POOL_TAG 0x74695721u   // "!Wit"

// One attached filter module. A witness may put more behind it.
typedef struct MODULE {
    NDIS_HANDLE Filter;
    NDIS_SWITCH_CONTEXT Switch;
    NDIS_SWITCH_OPTIONAL_HANDLERS Handlers;
    UNICODE_STRING Guid;           // FilterModuleGuidName: what reports of dropped packets name
    PVOID Lock;                    // guards Running and Below, and what a witness puts behind
    BOOLEAN Running;
    volatile LONG Sends;           // FilterSendNetBufferLists under way, and one for Running
    NDIS_EVENT SendsOver;
    NDIS_OID_REQUEST *Below;       // clone of the request from above that NDIS has not completed
} MODULE;

// What a witness says of itself.
extern const UNICODE_STRING FriendlyName, UniqueName, ServiceName;
extern const SIZE_T ModuleSize;

// What a witness does. All run at <= DISPATCH_LEVEL but Attached, Start, Activated and Stop, which run at
// PASSIVE_LEVEL.

// The module is about to run. A failure fails the restart.
NDIS_STATUS Start(MODULE *);
// The switch became active.
VOID Activated(MODULE *);
// The module is being detached.
VOID Stop(MODULE *);
// The module is attached, and may still fail to be.
NDIS_STATUS Attached(MODULE *);
// Sends, of a running module.
VOID Send(MODULE *, NET_BUFFER_LIST *, ULONG flags);
// Sends come back, those of the witness's own among them.
VOID SendComplete(MODULE *, NET_BUFFER_LIST *, ULONG flags);
// A request is about to go down; a failure ends it here.
NDIS_STATUS RequestDown(MODULE *, const NDIS_OID_REQUEST *);
// It came back, or could not go.
VOID RequestUp(MODULE *, const NDIS_OID_REQUEST *, NDIS_STATUS);

// Asks the switch, and waits. PASSIVE_LEVEL.
NDIS_STATUS Query(MODULE *, NDIS_OID, PVOID buffer, ULONG length, ULONG *needed);
// A pause waits for each send that began and did not end.
VOID SendBegins(MODULE *);
VOID SendEnds(MODULE *);
// Completes sends with a status.
VOID CompleteSends(MODULE *, NET_BUFFER_LIST *, NDIS_STATUS, ULONG send_flags);

#define LENGTH_OF(text) (sizeof(text) - sizeof(WCHAR))
#define TEXT_OF(text) \
    { { .Length = LENGTH_OF(text), .MaximumLength = LENGTH_OF(text), .Buffer = (PVOID)(text) } }
