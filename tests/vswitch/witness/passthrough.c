// A filtering extension that filters nothing: every packet, request and status goes on as it came, and where packets go
// is the switch's to say (filtering-extensions).
#include "extension.h"

const UNICODE_STRING FriendlyName = TEXT_OF(L"Witness: passthrough");
const UNICODE_STRING UniqueName = TEXT_OF(L"{2F2C3C61-8D0C-4E5B-9C57-0B1D0E6A7701}");
const UNICODE_STRING ServiceName = TEXT_OF(L"passthrough");
const SIZE_T ModuleSize = sizeof(MODULE);

NDIS_STATUS Attached(MODULE *module) {
    UNUSED(module);
    return NDIS_STATUS_SUCCESS;
}

NDIS_STATUS Start(MODULE *module) {
    UNUSED(module);
    return NDIS_STATUS_SUCCESS;
}

VOID Activated(MODULE *module) { UNUSED(module); }

VOID Stop(MODULE *module) { UNUSED(module); }

VOID Send(MODULE *module, NET_BUFFER_LIST *lists, ULONG flags) {
    NdisFSendNetBufferLists(module->Filter, lists, NDIS_DEFAULT_PORT_NUMBER, flags);
}

VOID SendComplete(MODULE *module, NET_BUFFER_LIST *lists, ULONG flags) {
    NdisFSendNetBufferListsComplete(module->Filter, lists, flags);
}

NDIS_STATUS RequestDown(MODULE *module, const NDIS_OID_REQUEST *request) {
    UNUSED(module);
    UNUSED(request);
    return NDIS_STATUS_SUCCESS;
}

VOID RequestUp(MODULE *module, const NDIS_OID_REQUEST *request, NDIS_STATUS status) {
    UNUSED(module);
    UNUSED(request);
    UNUSED(status);
}
