// The life of a filter module of the extensible switch, its requests and its status, as the pages tell it
// (roadmap-for-developing-ndis-filter-drivers, writing-hyper-v-extensible-switch-extensions).
#include "extension.h"

static NDIS_HANDLE Driver;

static ULONG ToComplete(ULONG flags) {
    ULONG complete = 0;
    if (flags & NDIS_SEND_FLAGS_DISPATCH_LEVEL)
        complete |= NDIS_SEND_COMPLETE_FLAGS_DISPATCH_LEVEL;
    if (flags & NDIS_SEND_FLAGS_SWITCH_SINGLE_SOURCE)
        complete |= NDIS_SEND_COMPLETE_FLAGS_SWITCH_SINGLE_SOURCE;
    return complete;
}

VOID CompleteSends(MODULE *module, NET_BUFFER_LIST *lists, NDIS_STATUS status, ULONG send_flags) {
    for (NET_BUFFER_LIST *list = lists; list; list = list->Next)
        list->Status = status;
    NdisFSendNetBufferListsComplete(module->Filter, lists, ToComplete(send_flags));
}

// The life of the module.

static NDIS_STATUS FilterAttach(NDIS_HANDLE filter, NDIS_HANDLE context, NDIS_FILTER_ATTACH_PARAMETERS *parameters) {
    UNUSED(context);
    if (parameters->MiniportMediaType != NdisMedium802_3)
        return NDIS_STATUS_NOT_SUPPORTED;
    NDIS_SWITCH_OPTIONAL_HANDLERS handlers = {0};
    handlers.Header.Type = NDIS_OBJECT_TYPE_SWITCH_OPTIONAL_HANDLERS;
    handlers.Header.Revision = NDIS_SWITCH_OPTIONAL_HANDLERS_REVISION_1;
    handlers.Header.Size = NDIS_SIZEOF_SWITCH_OPTIONAL_HANDLERS_REVISION_1;
    NDIS_SWITCH_CONTEXT of_switch = NULL;
    NDIS_STATUS status = NdisFGetOptionalSwitchHandlers(filter, &of_switch, &handlers);
    if (status != NDIS_STATUS_SUCCESS)
        return status;   // no extensible switch

    const UNICODE_STRING *guid = parameters->FilterModuleGuidName;
    MODULE *module = ExAllocatePool2(POOL_FLAG_NON_PAGED, ModuleSize + guid->Length, POOL_TAG);
    if (!module)
        return NDIS_STATUS_RESOURCES;
    module->Filter = filter;
    module->Switch = of_switch;
    module->Handlers = handlers;
    module->Guid.Length = module->Guid.MaximumLength = guid->Length;
    module->Guid.Buffer = (PVOID)((UCHAR *)module + ModuleSize);
    for (USHORT unit = 0; unit < guid->Length / sizeof(WCHAR); unit++)
        ((WCHAR *)module->Guid.Buffer)[unit] = ((WCHAR *)guid->Buffer)[unit];
    module->Lock = NdisAllocateRWLock(filter);
    if (!module->Lock) {
        status = NDIS_STATUS_RESOURCES;
    } else if ((status = Attached(module)) != NDIS_STATUS_SUCCESS) {
        NdisFreeRWLock(module->Lock);
    } else {
        NDIS_FILTER_ATTRIBUTES attributes = {0};
        attributes.Header.Type = NDIS_OBJECT_TYPE_FILTER_ATTRIBUTES;
        attributes.Header.Revision = NDIS_FILTER_ATTRIBUTES_REVISION_1;
        attributes.Header.Size = NDIS_SIZEOF_FILTER_ATTRIBUTES_REVISION_1;
        status = NdisFSetAttributes(filter, module, &attributes);
        if (status == NDIS_STATUS_SUCCESS)
            return status;
        Stop(module);
        NdisFreeRWLock(module->Lock);
    }
    ExFreePoolWithTag(module, POOL_TAG);
    return status;
}

static VOID FilterDetach(NDIS_HANDLE context) {
    MODULE *module = context;
    Stop(module);
    NdisFreeRWLock(module->Lock);
    ExFreePoolWithTag(module, POOL_TAG);
}

static VOID SetRunning(MODULE *module, BOOLEAN running) {
    LOCK_STATE_EX state;
    NdisAcquireRWLockWrite(module->Lock, &state, 0);
    __atomic_store_n(&module->Running, running, __ATOMIC_SEQ_CST);
    NdisReleaseRWLock(module->Lock, &state);
}

static NDIS_STATUS FilterRestart(NDIS_HANDLE context, PVOID parameters) {
    UNUSED(parameters);   // the restart attributes stay as they are
    MODULE *module = context;
    NDIS_STATUS status = Start(module);
    if (status != NDIS_STATUS_SUCCESS)
        return status;
    SendBegins(module);
    SetRunning(module, TRUE);
    return NDIS_STATUS_SUCCESS;
}

VOID SendBegins(MODULE *module) {
    __atomic_add_fetch(&module->Sends, 1, __ATOMIC_SEQ_CST);
}

VOID SendEnds(MODULE *module) {
    if (__atomic_sub_fetch(&module->Sends, 1, __ATOMIC_SEQ_CST) == 0)
        NdisSetEvent(&module->SendsOver);
}

static NDIS_STATUS FilterPause(NDIS_HANDLE context, PVOID parameters) {
    UNUSED(parameters);
    MODULE *module = context;
    // First of all: a send that begins from now on originates nothing and is completed with NDIS_STATUS_PAUSED.
    __atomic_store_n(&module->Running, FALSE, __ATOMIC_SEQ_CST);
    NdisInitializeEvent(&module->SendsOver);
    // Waits for sends that are just beginning. Those that began before go on to their end.
    SetRunning(module, FALSE);
    SendEnds(module);
    NdisWaitEvent(&module->SendsOver, 0);
    return NDIS_STATUS_SUCCESS;
}

// Services that are optional and that nobody here needs; NDIS asks all the same.

static NDIS_STATUS FilterSetOptions(NDIS_HANDLE driver, NDIS_HANDLE context) {
    UNUSED(driver);
    UNUSED(context);
    return NDIS_STATUS_SUCCESS;
}

static NDIS_STATUS FilterSetModuleOptions(NDIS_HANDLE context) {
    UNUSED(context);
    return NDIS_STATUS_SUCCESS;
}

static NDIS_STATUS FilterNetPnPEvent(NDIS_HANDLE context, NET_PNP_EVENT_NOTIFICATION *notification) {
    MODULE *module = context;
    if (notification->NetPnPEvent.NetEvent == NetEventSwitchActivate)
        Activated(module);
    return NdisFNetPnPEvent(module->Filter, notification);
}

static VOID FilterDevicePnPEventNotify(NDIS_HANDLE context, PVOID event) {
    NdisFDevicePnPEventNotify(((MODULE *)context)->Filter, event);
}

static VOID FilterStatus(NDIS_HANDLE context, PVOID indication) {
    NdisFIndicateStatus(((MODULE *)context)->Filter, indication);
}

// Packets.

static VOID FilterSendNetBufferLists(NDIS_HANDLE context, NET_BUFFER_LIST *lists, NDIS_PORT_NUMBER port, ULONG flags) {
    UNUSED(port);   // always the default one in the stack of a switch
    MODULE *module = context;
    UCHAR level = flags & NDIS_SEND_FLAGS_DISPATCH_LEVEL ? NDIS_RWL_AT_DISPATCH_LEVEL : 0;
    LOCK_STATE_EX state;
    NdisAcquireRWLockRead(module->Lock, &state, level);
    BOOLEAN running = __atomic_load_n(&module->Running, __ATOMIC_SEQ_CST);
    if (running)
        SendBegins(module);
    NdisReleaseRWLock(module->Lock, &state);
    if (!running) {
        CompleteSends(module, lists, NDIS_STATUS_PAUSED, flags);
        return;
    }
    Send(module, lists, flags);
    SendEnds(module);
}

static VOID FilterSendNetBufferListsComplete(NDIS_HANDLE context, NET_BUFFER_LIST *lists, ULONG flags) {
    SendComplete(context, lists, flags);
}

static VOID FilterReceiveNetBufferLists(NDIS_HANDLE context, NET_BUFFER_LIST *lists, NDIS_PORT_NUMBER port, ULONG count,
                                        ULONG flags) {
    NdisFIndicateReceiveNetBufferLists(((MODULE *)context)->Filter, lists, port, count, flags);
}

static VOID FilterReturnNetBufferLists(NDIS_HANDLE context, NET_BUFFER_LIST *lists, ULONG flags) {
    NdisFReturnNetBufferLists(((MODULE *)context)->Filter, lists, flags);
}

// Requests. SourceReserved belongs to who sends a request: in a clone it leads to the original, in a request of our own
// it is null.

static NDIS_OID_REQUEST *Original(const NDIS_OID_REQUEST *request) {
    return *(NDIS_OID_REQUEST *const *)request->SourceReserved;
}

static NDIS_STATUS Clone(MODULE *module, NDIS_OID_REQUEST *request, NDIS_OID_REQUEST **clone) {
    NDIS_STATUS status = NdisAllocateCloneOidRequest(module->Filter, request, POOL_TAG, clone);
    if (status == NDIS_STATUS_SUCCESS) {
        *(NDIS_OID_REQUEST **)(*clone)->SourceReserved = request;
        (*clone)->RequestId = request->RequestId;   // by which it is cancelled
    }
    return status;
}

static VOID SetBelow(MODULE *module, NDIS_OID_REQUEST *clone) {
    LOCK_STATE_EX state;
    NdisAcquireRWLockWrite(module->Lock, &state, 0);
    module->Below = clone;
    NdisReleaseRWLock(module->Lock, &state);
}

// Gives what those below answered to the original, and the clone back. SupportedRevision is for who handles a set
// request (filtering-oid-requests-in-an-ndis-filter-driver), which here is not us.
static NDIS_OID_REQUEST *GiveBack(MODULE *module, NDIS_OID_REQUEST *clone) {
    NDIS_OID_REQUEST *original = Original(clone);
    switch (clone->RequestType) {
    case NdisRequestMethod:
        original->DATA_METHOD_INFORMATION_OutputBufferLength = clone->DATA_METHOD_INFORMATION_OutputBufferLength;
        original->DATA_METHOD_INFORMATION_BytesRead = clone->DATA_METHOD_INFORMATION_BytesRead;
        original->DATA_METHOD_INFORMATION_BytesNeeded = clone->DATA_METHOD_INFORMATION_BytesNeeded;
        original->DATA_METHOD_INFORMATION_BytesWritten = clone->DATA_METHOD_INFORMATION_BytesWritten;
        break;
    case NdisRequestSetInformation:
        original->DATA_SET_INFORMATION_BytesRead = clone->DATA_SET_INFORMATION_BytesRead;
        original->DATA_SET_INFORMATION_BytesNeeded = clone->DATA_SET_INFORMATION_BytesNeeded;
        break;
    default:
        original->DATA_QUERY_INFORMATION_BytesWritten = clone->DATA_QUERY_INFORMATION_BytesWritten;
        original->DATA_QUERY_INFORMATION_BytesNeeded = clone->DATA_QUERY_INFORMATION_BytesNeeded;
    }
    NdisFreeCloneOidRequest(module->Filter, clone);
    return original;
}

static NDIS_STATUS FilterOidRequest(NDIS_HANDLE context, NDIS_OID_REQUEST *request) {
    MODULE *module = context;
    NDIS_STATUS status = RequestDown(module, request);
    if (status != NDIS_STATUS_SUCCESS)
        return status;
    NDIS_OID_REQUEST *clone;
    status = Clone(module, request, &clone);
    if (status != NDIS_STATUS_SUCCESS) {
        RequestUp(module, request, status);
        return status;
    }
    SetBelow(module, clone);
    status = NdisFOidRequest(module->Filter, clone);
    if (status != NDIS_STATUS_PENDING) {   // else it may be gone already
        SetBelow(module, NULL);
        RequestUp(module, GiveBack(module, clone), status);
    }
    return status;
}

typedef struct QUERY {
    NDIS_OID_REQUEST Request;
    NDIS_EVENT Over;
    NDIS_STATUS Status;
} QUERY;

static VOID FilterOidRequestComplete(NDIS_HANDLE context, NDIS_OID_REQUEST *request, NDIS_STATUS status) {
    MODULE *module = context;
    if (!Original(request)) {
        QUERY *query = (QUERY *)request;
        query->Status = status;
        NdisSetEvent(&query->Over);
        return;
    }
    SetBelow(module, NULL);
    NDIS_OID_REQUEST *original = GiveBack(module, request);
    RequestUp(module, original, status);
    NdisFOidRequestComplete(module->Filter, original, status);
}

static VOID FilterCancelOidRequest(NDIS_HANDLE context, PVOID id) {
    MODULE *module = context;
    LOCK_STATE_EX state;
    NdisAcquireRWLockRead(module->Lock, &state, 0);
    BOOLEAN ours = module->Below && module->Below->RequestId == id;
    NdisReleaseRWLock(module->Lock, &state);
    if (ours)
        NdisFCancelOidRequest(module->Filter, id);
}

static NDIS_STATUS FilterDirectOidRequest(NDIS_HANDLE context, NDIS_OID_REQUEST *request) {
    MODULE *module = context;
    NDIS_OID_REQUEST *clone;
    NDIS_STATUS status = Clone(module, request, &clone);
    if (status != NDIS_STATUS_SUCCESS)
        return status;
    status = NdisFDirectOidRequest(module->Filter, clone);
    if (status != NDIS_STATUS_PENDING)
        GiveBack(module, clone);
    return status;
}

static VOID FilterDirectOidRequestComplete(NDIS_HANDLE context, NDIS_OID_REQUEST *request, NDIS_STATUS status) {
    MODULE *module = context;
    NdisFDirectOidRequestComplete(module->Filter, GiveBack(module, request), status);
}

NDIS_STATUS Query(MODULE *module, NDIS_OID oid, PVOID buffer, ULONG length, ULONG *needed) {
    QUERY query = {0};
    NDIS_OID_REQUEST *request = &query.Request;
    request->Header.Type = NDIS_OBJECT_TYPE_OID_REQUEST;
    request->Header.Revision = NDIS_OID_REQUEST_REVISION_1;
    request->Header.Size = NDIS_SIZEOF_OID_REQUEST_REVISION_1;
    request->RequestType = NdisRequestQueryInformation;
    request->DATA_QUERY_INFORMATION_Oid = oid;
    request->DATA_QUERY_INFORMATION_InformationBuffer = buffer;
    request->DATA_QUERY_INFORMATION_InformationBufferLength = length;
    NdisInitializeEvent(&query.Over);
    NDIS_STATUS status = NdisFOidRequest(module->Filter, request);
    if (status == NDIS_STATUS_PENDING) {
        NdisWaitEvent(&query.Over, 0);
        status = query.Status;
    }
    if (needed)
        *needed = request->DATA_QUERY_INFORMATION_BytesNeeded;
    return status;
}

// The life of the driver.

static VOID DriverUnload(DRIVER_OBJECT *object) {
    UNUSED(object);
    NdisFDeregisterFilterDriver(Driver);
}

NTSTATUS DriverEntry(DRIVER_OBJECT *object, UNICODE_STRING *registry_path) {
    UNUSED(registry_path);
    NDIS_FILTER_DRIVER_CHARACTERISTICS c = {0};
    c.Header.Type = NDIS_OBJECT_TYPE_FILTER_DRIVER_CHARACTERISTICS;
    c.Header.Revision = NDIS_FILTER_CHARACTERISTICS_REVISION_2;
    c.Header.Size = NDIS_SIZEOF_FILTER_DRIVER_CHARACTERISTICS_REVISION_2;
    c.MajorNdisVersion = 6;
    c.MinorNdisVersion = 40;
    c.MajorDriverVersion = 1;
    c.FriendlyName = FriendlyName;
    c.UniqueName = UniqueName;
    c.ServiceName = ServiceName;
    c.SetOptionsHandler = FilterSetOptions;
    c.SetFilterModuleOptionsHandler = FilterSetModuleOptions;
    c.AttachHandler = FilterAttach;
    c.DetachHandler = FilterDetach;
    c.RestartHandler = FilterRestart;
    c.PauseHandler = FilterPause;
    c.SendNetBufferListsHandler = FilterSendNetBufferLists;
    c.SendNetBufferListsCompleteHandler = FilterSendNetBufferListsComplete;
    c.ReceiveNetBufferListsHandler = FilterReceiveNetBufferLists;
    c.ReturnNetBufferListsHandler = FilterReturnNetBufferLists;
    c.OidRequestHandler = FilterOidRequest;
    c.OidRequestCompleteHandler = FilterOidRequestComplete;
    c.CancelOidRequestHandler = FilterCancelOidRequest;
    c.DirectOidRequestHandler = FilterDirectOidRequest;
    c.DirectOidRequestCompleteHandler = FilterDirectOidRequestComplete;
    c.NetPnPEventHandler = FilterNetPnPEvent;
    c.DevicePnPEventNotifyHandler = FilterDevicePnPEventNotify;
    c.StatusHandler = FilterStatus;
    object->DriverUnload = DriverUnload;
    return NdisFRegisterFilterDriver(object, object, &c, &Driver);
}
