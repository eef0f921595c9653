// A forwarding extension and nothing more: a packet goes to the adapter that has its destination address, a group's
// packet to everybody, one for an address that no adapter has to the outside. It enforces no port policy, knows no
// links and merges nothing that adapters can do (forwarding-extensions,
// adding-extensible-switch-destination-port-data-to-a-packet).
#include "extension.h"

// A network adapter that is connected, or about to be.
typedef struct NIC {
    struct NIC *Next;
    NDIS_SWITCH_PORT_ID Port;
    NDIS_SWITCH_NIC_INDEX Index;
    BOOLEAN External;
    enum { CONNECTING, CONNECTED, GONE } State;   // GONE: a request said so while the array was being read
    UCHAR Mac[6];
} NIC;

typedef struct FORWARD {
    MODULE Module;
    NDIS_HANDLE Pool;      // of lists that are made of the packets of others
    NIC *Nics;             // all of this under Module.Lock
    BOOLEAN Known;         // the array was read: what comes later comes by requests
    BOOLEAN Reading;
} FORWARD;

const UNICODE_STRING FriendlyName = TEXT_OF(L"Witness: forward");
const UNICODE_STRING UniqueName = TEXT_OF(L"{2F2C3C61-8D0C-4E5B-9C57-0B1D0E6A7702}");
const UNICODE_STRING ServiceName = TEXT_OF(L"forward");
const SIZE_T ModuleSize = sizeof(FORWARD);

static const UNICODE_STRING NoDestination = TEXT_OF(L"Nobody is there to take it.");

// Adapters.

static BOOLEAN SameMac(const UCHAR *one, const UCHAR *other) {
    for (int at = 0; at < 6; at++)
        if (one[at] != other[at])
            return FALSE;
    return TRUE;
}

static NIC **Find(FORWARD *forward, NDIS_SWITCH_PORT_ID port, NDIS_SWITCH_NIC_INDEX index) {
    NIC **link = &forward->Nics;
    while (*link && ((*link)->Port != port || (*link)->Index != index))
        link = &(*link)->Next;
    return link;
}

static VOID Forget(NIC **link) {
    NIC *nic = *link;
    *link = nic->Next;
    ExFreePoolWithTag(nic, POOL_TAG);
}

// Adds the adapter, or says what is new of it. Null if memory runs out: it cannot be reached until the array is read
// again, at the next restart.
static NIC *Note(FORWARD *forward, const NDIS_SWITCH_NIC_PARAMETERS *p) {
    NIC **link = Find(forward, p->PortId, p->NicIndex);
    if (!*link) {
        *link = ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(NIC), POOL_TAG);
        if (!*link) {
            forward->Known = FALSE;
            return NULL;
        }
        (*link)->Port = p->PortId;
        (*link)->Index = p->NicIndex;
    }
    (*link)->External = p->NicType == NdisSwitchNicTypeExternal;
    for (int at = 0; at < 6; at++)
        (*link)->Mac[at] = p->CurrentMacAddress[at];
    return *link;
}

// What a request about an adapter tells; null if it is another request, or none that can be read.
static const NDIS_SWITCH_NIC_PARAMETERS *Parameters(const NDIS_OID_REQUEST *request) {
    const NDIS_SWITCH_NIC_PARAMETERS *p = request->DATA_SET_INFORMATION_InformationBuffer;
    BOOLEAN fits = request->RequestType == NdisRequestSetInformation && p &&
                   request->DATA_SET_INFORMATION_InformationBufferLength >=
                       NDIS_SIZEOF_NDIS_SWITCH_NIC_PARAMETERS_REVISION_1 &&
                   p->Header.Type == NDIS_OBJECT_TYPE_DEFAULT && p->Header.Revision >= 1 &&
                   p->Header.Size >= NDIS_SIZEOF_NDIS_SWITCH_NIC_PARAMETERS_REVISION_1;
    return fits ? p : NULL;
}

NDIS_STATUS RequestDown(MODULE *module, const NDIS_OID_REQUEST *request) {
    FORWARD *forward = (FORWARD *)module;
    NDIS_OID oid = request->DATA_SET_INFORMATION_Oid;
    const NDIS_SWITCH_NIC_PARAMETERS *p = Parameters(request);
    if (!p || (oid != OID_SWITCH_NIC_CONNECT && oid != OID_SWITCH_NIC_DISCONNECT))
        return NDIS_STATUS_SUCCESS;
    LOCK_STATE_EX state;
    NdisAcquireRWLockWrite(module->Lock, &state, 0);
    if (oid == OID_SWITCH_NIC_CONNECT) {
        NIC *nic = Note(forward, p);
        if (nic && nic->State == GONE)
            nic->State = CONNECTING;
    } else {
        // Once this is forwarded the adapter is no destination any more.
        NIC *nic = *Find(forward, p->PortId, p->NicIndex);
        if (forward->Reading && (nic = Note(forward, p)))
            nic->State = GONE;
        else if (nic)
            Forget(Find(forward, p->PortId, p->NicIndex));
    }
    NdisReleaseRWLock(module->Lock, &state);
    return NDIS_STATUS_SUCCESS;
}

VOID RequestUp(MODULE *module, const NDIS_OID_REQUEST *request, NDIS_STATUS status) {
    FORWARD *forward = (FORWARD *)module;
    NDIS_OID oid = request->DATA_SET_INFORMATION_Oid;
    const NDIS_SWITCH_NIC_PARAMETERS *p = Parameters(request);
    if (!p || (oid != OID_SWITCH_NIC_CONNECT && oid != OID_SWITCH_NIC_UPDATED))
        return;
    LOCK_STATE_EX state;
    NdisAcquireRWLockWrite(module->Lock, &state, 0);
    NIC **link = Find(forward, p->PortId, p->NicIndex);
    if (*link && oid == OID_SWITCH_NIC_UPDATED) {
        if (status == NDIS_STATUS_SUCCESS)
            Note(forward, p);
    } else if (*link && status == NDIS_STATUS_SUCCESS) {
        (*link)->State = CONNECTED;
    } else if (*link && (*link)->State == CONNECTING) {
        Forget(link);
    }
    NdisReleaseRWLock(module->Lock, &state);
}

// Takes over what the array tells and no request told meanwhile.
static VOID Merge(FORWARD *forward, const NDIS_SWITCH_NIC_ARRAY *array) {
    const UCHAR *element = (const UCHAR *)array + array->FirstElementOffset;
    for (ULONG at = 0; at < array->NumElements; at++, element += array->ElementSize) {
        const NDIS_SWITCH_NIC_PARAMETERS *p = (const NDIS_SWITCH_NIC_PARAMETERS *)element;
        if (p->NicState != NdisSwitchNicStateConnected || *Find(forward, p->PortId, p->NicIndex))
            continue;
        NIC *nic = Note(forward, p);
        if (nic)
            nic->State = CONNECTED;
    }
}

// Reads the array of adapters into memory that is long enough. The memory is the caller's to free.
static NDIS_STATUS ReadArray(MODULE *module, NDIS_SWITCH_NIC_ARRAY **array) {
    ULONG length = sizeof(NDIS_SWITCH_NIC_ARRAY) + 8 * sizeof(NDIS_SWITCH_NIC_PARAMETERS);
    for (int tries = 0; tries < 16; tries++) {
        *array = ExAllocatePool2(POOL_FLAG_NON_PAGED, length, POOL_TAG);
        if (!*array)
            return NDIS_STATUS_RESOURCES;
        (*array)->Header.Type = NDIS_OBJECT_TYPE_DEFAULT;
        (*array)->Header.Revision = NDIS_SWITCH_NIC_ARRAY_REVISION_1;
        (*array)->Header.Size = NDIS_SIZEOF_NDIS_SWITCH_NIC_ARRAY_REVISION_1;
        ULONG needed = 0;
        NDIS_STATUS status = Query(module, OID_SWITCH_NIC_ARRAY, *array, length, &needed);
        if (status == NDIS_STATUS_SUCCESS)
            return status;
        ExFreePoolWithTag(*array, POOL_TAG);
        *array = NULL;
        if (status != NDIS_STATUS_INVALID_LENGTH && status != NDIS_STATUS_BUFFER_TOO_SHORT)
            return status;
        length = needed > length ? needed : 2 * length;
    }
    return NDIS_STATUS_FAILURE;
}

static VOID SetReading(FORWARD *forward, BOOLEAN reading, const NDIS_SWITCH_NIC_ARRAY *array) {
    LOCK_STATE_EX state;
    NdisAcquireRWLockWrite(forward->Module.Lock, &state, 0);
    forward->Reading = reading;
    if (array) {
        forward->Known = TRUE;
        Merge(forward, array);
    }
    for (NIC **link = &forward->Nics; *link;)
        if (!reading && (*link)->State == GONE)
            Forget(link);
        else
            link = &(*link)->Next;
    NdisReleaseRWLock(forward->Module.Lock, &state);
}

static NDIS_STATUS ReadNics(MODULE *module) {
    FORWARD *forward = (FORWARD *)module;
    NDIS_SWITCH_NIC_ARRAY *array = NULL;
    SetReading(forward, TRUE, NULL);
    NDIS_STATUS status = ReadArray(module, &array);
    SetReading(forward, FALSE, array);
    if (array)
        ExFreePoolWithTag(array, POOL_TAG);
    return status;
}

NDIS_STATUS Attached(MODULE *module) {
    NET_BUFFER_LIST_POOL_PARAMETERS parameters = {0};
    parameters.Header.Type = NDIS_OBJECT_TYPE_DEFAULT;
    parameters.Header.Revision = NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1;
    parameters.Header.Size = NDIS_SIZEOF_NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1;
    parameters.fAllocateNetBuffer = TRUE;
    parameters.PoolTag = POOL_TAG;
    NDIS_HANDLE pool = NdisAllocateNetBufferListPool(module->Filter, &parameters);
    ((FORWARD *)module)->Pool = pool;
    return pool ? NDIS_STATUS_SUCCESS : NDIS_STATUS_RESOURCES;
}

NDIS_STATUS Start(MODULE *module) {
    if (((FORWARD *)module)->Known)
        return NDIS_STATUS_SUCCESS;
    NDIS_SWITCH_PARAMETERS *of_switch = ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*of_switch), POOL_TAG);
    if (!of_switch)
        return NDIS_STATUS_RESOURCES;
    of_switch->Header.Type = NDIS_OBJECT_TYPE_DEFAULT;
    of_switch->Header.Revision = NDIS_SWITCH_PARAMETERS_REVISION_1;
    of_switch->Header.Size = NDIS_SIZEOF_NDIS_SWITCH_PARAMETERS_REVISION_1;
    NDIS_STATUS status = Query(module, OID_SWITCH_PARAMETERS, of_switch, sizeof(*of_switch), NULL);
    BOOLEAN active = of_switch->IsActive;
    ExFreePoolWithTag(of_switch, POOL_TAG);
    // Until the switch is active it must not be asked for arrays: an event will tell.
    return status == NDIS_STATUS_SUCCESS && active ? ReadNics(module) : status;
}

VOID Activated(MODULE *module) {
    if (!((FORWARD *)module)->Known)
        ReadNics(module);
}

VOID Stop(MODULE *module) {
    FORWARD *forward = (FORWARD *)module;
    while (forward->Nics)
        Forget(&forward->Nics);
    NdisFreeNetBufferListPool(forward->Pool);
}

// Packets.

static const NDIS_SWITCH_FORWARDING_DETAIL_NET_BUFFER_LIST_INFO *Detail(const NET_BUFFER_LIST *list) {
    return (const PVOID)&list->NetBufferListInfo[SwitchForwardingDetail];
}

static const UCHAR *Mapped(MDL *mdl) {
    if (mdl->MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL))
        return mdl->MappedSystemVa;
    return MmMapLockedPagesSpecifyCache(mdl, 0, MmCached, NULL, FALSE, NormalPagePriority | MdlMappingNoExecute);
}

// The destination address of a packet, wherever its bytes lie.
static BOOLEAN ReadDestination(const NET_BUFFER *packet, UCHAR mac[6]) {
    if (!packet || packet->DataLength < 14)
        return FALSE;
    MDL *mdl = packet->CurrentMdl;
    ULONG offset = packet->CurrentMdlOffset;
    for (int at = 0; at < 6;) {
        if (!mdl)
            return FALSE;
        if (offset < mdl->ByteCount) {
            const UCHAR *bytes = Mapped(mdl);
            if (!bytes)
                return FALSE;
            while (at < 6 && offset < mdl->ByteCount)
                mac[at++] = bytes[offset++];
        }
        offset -= mdl->ByteCount;
        mdl = mdl->Next;
    }
    return TRUE;
}

// The adapters that a packet goes to; called with the lock held.
typedef struct TARGETS {
    const UCHAR *Mac;
    const NIC *Owner;      // of the address
    const NIC *Uplink;     // null if the packet came from there
    NDIS_SWITCH_PORT_ID Source;
} TARGETS;

static TARGETS Aim(const FORWARD *forward, const UCHAR *mac, NDIS_SWITCH_PORT_ID source) {
    TARGETS targets = { mac, NULL, NULL, source };
    BOOLEAN from_outside = FALSE;
    for (const NIC *nic = forward->Nics; nic; nic = nic->Next) {
        from_outside |= nic->External && nic->Port == source;
        if (nic->State != CONNECTED)
            continue;
        if (!nic->External && SameMac(nic->Mac, mac))
            targets.Owner = nic;
        // Index 0 stands for all physical adapters together; a destination is one of them.
        if (nic->External && nic->Index && (!targets.Uplink || nic->Index < targets.Uplink->Index))
            targets.Uplink = nic;
    }
    if (from_outside)
        targets.Uplink = NULL;
    return targets;
}

static BOOLEAN IsMeant(const TARGETS *targets, const NIC *nic) {
    if (nic->State != CONNECTED || nic->Port == targets->Source)
        return FALSE;
    if (targets->Mac[0] & 1)
        return nic->External ? nic == targets->Uplink : TRUE;
    return nic == (targets->Owner ? targets->Owner : targets->Uplink);
}

static VOID Fill(NDIS_SWITCH_PORT_DESTINATION *destination, const NIC *nic) {
    NDIS_SWITCH_PORT_DESTINATION empty = {0};
    *destination = empty;
    destination->PortId = nic->Port;
    destination->NicIndex = nic->Index;
    // What is tagged leaves tagged; no port inside has a VLAN here.
    destination->PreserveVLAN = destination->PreservePriority = nic->External;
}

// Commits the destinations; under the lock, so that none is added once the DISCONNECT of its adapter went down.
static NDIS_STATUS Commit(FORWARD *forward, NET_BUFFER_LIST *list, const TARGETS *targets) {
    const NDIS_SWITCH_OPTIONAL_HANDLERS *of = &forward->Module.Handlers;
    NDIS_SWITCH_CONTEXT context = forward->Module.Switch;
    UINT32 count = 0;
    const NIC *one = NULL;
    for (const NIC *nic = forward->Nics; nic; nic = nic->Next)
        if (IsMeant(targets, nic)) {
            one = nic;
            count++;
        }
    if (!count)
        return NDIS_STATUS_FAILURE;
    // With no element free it has to ask for one, for a single destination as for many.
    if (count == 1 && Detail(list)->NumAvailableDestinations) {
        NDIS_SWITCH_PORT_DESTINATION destination;
        Fill(&destination, one);
        return of->AddNetBufferListDestination(context, list, &destination);
    }
    NDIS_SWITCH_FORWARDING_DESTINATION_ARRAY *array = NULL;
    if (Detail(list)->NumAvailableDestinations < count) {
        NDIS_STATUS status = of->GrowNetBufferListDestinations(context, list, count, &array);
        if (status != NDIS_STATUS_SUCCESS)
            return status;
    } else {
        of->GetNetBufferListDestinations(context, list, &array);
    }
    UCHAR *element = (UCHAR *)array->FirstElement + (SIZE_T)array->NumDestinations * array->ElementSize;
    for (const NIC *nic = forward->Nics; nic; nic = nic->Next)
        if (IsMeant(targets, nic)) {
            Fill((NDIS_SWITCH_PORT_DESTINATION *)element, nic);
            element += array->ElementSize;
        }
    return of->UpdateNetBufferListDestinations(context, list, count, array);
}

static NDIS_STATUS Direct(FORWARD *forward, NET_BUFFER_LIST *list, ULONG flags) {
    UCHAR mac[6];
    if (!ReadDestination(list->FirstNetBuffer, mac))
        return NDIS_STATUS_FAILURE;
    UCHAR level = flags & NDIS_SEND_FLAGS_DISPATCH_LEVEL ? NDIS_RWL_AT_DISPATCH_LEVEL : 0;
    LOCK_STATE_EX state;
    NdisAcquireRWLockRead(forward->Module.Lock, &state, level);
    TARGETS targets = Aim(forward, mac, Detail(list)->SourcePortId);
    NDIS_STATUS status = Commit(forward, list, &targets);
    NdisReleaseRWLock(forward->Module.Lock, &state);
    return status;
}

static VOID Report(MODULE *module, NET_BUFFER_LIST *list) {
    module->Handlers.ReportFilteredNetBufferLists(module->Switch, &module->Guid, &FriendlyName,
                                                  Detail(list)->SourcePortId,
                                                  NDIS_SWITCH_REPORT_FILTERED_NBL_FLAGS_IS_INCOMING, 1, list,
                                                  &NoDestination);
}

// Lists of several packets. All packets of a list have its destinations, so that a list whose packets go to several
// places becomes a list for each (cloning-or-duplicating-packet-traffic): children, which use the memory of the parent,
// and the parent waits for them. ChildRefCount counts those that are out, and one for who makes them
// (relationships-between-net-buffer-list-generations).

static BOOLEAN IsOfOneMind(const NET_BUFFER_LIST *list) {
    UCHAR first[6], mac[6];
    const NET_BUFFER *packet = list->FirstNetBuffer;
    if (!packet || !packet->Next)
        return TRUE;
    BOOLEAN same = ReadDestination(packet, first);
    for (packet = packet->Next; same && packet; packet = packet->Next)
        same = ReadDestination(packet, mac) && SameMac(first, mac);
    return same;
}

// The last child is back, or none was sent.
static VOID Release(MODULE *module, NET_BUFFER_LIST *parent, ULONG complete_flags) {
    if (__atomic_sub_fetch(&parent->ChildRefCount, 1, __ATOMIC_SEQ_CST) == 0)
        NdisFSendNetBufferListsComplete(module->Filter, parent, complete_flags);
}

static VOID FreeChild(MODULE *module, NET_BUFFER_LIST *child, BOOLEAN with_context) {
    if (with_context)
        module->Handlers.FreeNetBufferListForwardingContext(module->Switch, child);
    NdisFreeNetBufferList(child);
}

// A list for one packet of another. Null if memory runs out.
static NET_BUFFER_LIST *MakeChild(FORWARD *forward, NET_BUFFER_LIST *parent, const NET_BUFFER *packet) {
    MODULE *module = &forward->Module;
    NET_BUFFER_LIST *child = NdisAllocateNetBufferAndNetBufferList(forward->Pool, 0, 0, packet->MdlChain,
                                                                   packet->DataOffset, packet->DataLength);
    if (!child)
        return NULL;
    child->SourceHandle = module->Filter;
    child->ParentNetBufferList = parent;
    const NDIS_SWITCH_OPTIONAL_HANDLERS *of = &module->Handlers;
    BOOLEAN context = of->AllocateNetBufferListForwardingContext(module->Switch, child) == NDIS_STATUS_SUCCESS;
    if (context && of->CopyNetBufferListInfo(module->Switch, child, parent, 0) == NDIS_STATUS_SUCCESS)
        return child;
    FreeChild(module, child, context);
    return NULL;
}

// Appends the children that go somewhere; reports the parent once if some of it goes nowhere.
static NET_BUFFER_LIST **Split(FORWARD *forward, NET_BUFFER_LIST *parent, ULONG flags, NET_BUFFER_LIST **last) {
    MODULE *module = &forward->Module;
    BOOLEAN reported = FALSE;
    parent->Status = NDIS_STATUS_SUCCESS;
    __atomic_add_fetch(&parent->ChildRefCount, 1, __ATOMIC_SEQ_CST);
    for (const NET_BUFFER *packet = parent->FirstNetBuffer; packet; packet = packet->Next) {
        NET_BUFFER_LIST *child = MakeChild(forward, parent, packet);
        NDIS_STATUS status = child ? Direct(forward, child, flags) : NDIS_STATUS_RESOURCES;
        if (status == NDIS_STATUS_SUCCESS) {
            __atomic_add_fetch(&parent->ChildRefCount, 1, __ATOMIC_SEQ_CST);
            SendBegins(module);
            *last = child;
            last = &child->Next;
            continue;
        }
        if (child)
            Report(module, child);
        else if (!reported)
            Report(module, parent);
        reported |= !child;
        if (child)
            FreeChild(module, child, TRUE);
        parent->Status = status;
    }
    Release(module, parent, 0);
    return last;
}

VOID SendComplete(MODULE *module, NET_BUFFER_LIST *lists, ULONG flags) {
    NET_BUFFER_LIST *first = NULL, **last = &first;
    ULONG level = flags & NDIS_SEND_COMPLETE_FLAGS_DISPATCH_LEVEL;
    while (lists) {
        NET_BUFFER_LIST *list = lists;
        lists = list->Next;
        list->Next = NULL;
        if (list->SourceHandle != module->Filter) {
            *last = list;
            last = &list->Next;
            continue;
        }
        NET_BUFFER_LIST *parent = list->ParentNetBufferList;
        FreeChild(module, list, TRUE);
        Release(module, parent, level);
        SendEnds(module);
    }
    if (first)
        NdisFSendNetBufferListsComplete(module->Filter, first, flags);
}

VOID Send(MODULE *module, NET_BUFFER_LIST *lists, ULONG flags) {
    NET_BUFFER_LIST *first = NULL, **last = &first;
    while (lists) {
        NET_BUFFER_LIST *list = lists;
        lists = list->Next;
        list->Next = NULL;
        // The switch itself forwards what is marked (hybrid-forwarding): it goes on as it came.
        NDIS_STATUS status = NDIS_STATUS_SUCCESS;
        if (!Detail(list)->NativeForwardingRequired) {
            if (!IsOfOneMind(list)) {
                last = Split((FORWARD *)module, list, flags, last);
                continue;
            }
            status = Direct((FORWARD *)module, list, flags);
        }
        if (status == NDIS_STATUS_SUCCESS) {
            *last = list;
            last = &list->Next;
        } else {
            Report(module, list);
            CompleteSends(module, list, status, flags);
        }
    }
    if (first)
        NdisFSendNetBufferLists(module->Filter, first, NDIS_DEFAULT_PORT_NUMBER, flags);
}
