// Functions that the witnesses import, and types of functions that they register. Each has a page of its name in the
// documentation (wdm, ndis), from which its parameters are taken. ndis.h includes this file once its names are known.
#pragma once

// FilterXxx functions.
typedef NDIS_STATUS (*SET_OPTIONS_HANDLER)(NDIS_HANDLE driver, NDIS_HANDLE context);
typedef NDIS_STATUS (*FILTER_SET_FILTER_MODULE_OPTIONS_HANDLER)(NDIS_HANDLE module);
typedef NDIS_STATUS (*FILTER_ATTACH_HANDLER)(NDIS_HANDLE filter, NDIS_HANDLE context,
                                             NDIS_FILTER_ATTACH_PARAMETERS *);
typedef VOID (*FILTER_DETACH_HANDLER)(NDIS_HANDLE module);
typedef NDIS_STATUS (*FILTER_RESTART_HANDLER)(NDIS_HANDLE module, PVOID parameters);
typedef NDIS_STATUS (*FILTER_PAUSE_HANDLER)(NDIS_HANDLE module, PVOID parameters);
typedef VOID (*FILTER_SEND_NET_BUFFER_LISTS_HANDLER)(NDIS_HANDLE module, NET_BUFFER_LIST *, NDIS_PORT_NUMBER,
                                                     ULONG flags);
typedef VOID (*FILTER_SEND_NET_BUFFER_LISTS_COMPLETE_HANDLER)(NDIS_HANDLE module, NET_BUFFER_LIST *, ULONG flags);
typedef VOID (*FILTER_RECEIVE_NET_BUFFER_LISTS_HANDLER)(NDIS_HANDLE module, NET_BUFFER_LIST *, NDIS_PORT_NUMBER,
                                                        ULONG count, ULONG flags);
typedef VOID (*FILTER_RETURN_NET_BUFFER_LISTS_HANDLER)(NDIS_HANDLE module, NET_BUFFER_LIST *, ULONG flags);
typedef NDIS_STATUS (*FILTER_OID_REQUEST_HANDLER)(NDIS_HANDLE module, NDIS_OID_REQUEST *);
typedef VOID (*FILTER_OID_REQUEST_COMPLETE_HANDLER)(NDIS_HANDLE module, NDIS_OID_REQUEST *, NDIS_STATUS);
typedef VOID (*FILTER_CANCEL_OID_REQUEST_HANDLER)(NDIS_HANDLE module, PVOID id);
typedef VOID (*FILTER_DEVICE_PNP_EVENT_NOTIFY_HANDLER)(NDIS_HANDLE module, PVOID event);
typedef NDIS_STATUS (*FILTER_NET_PNP_EVENT_HANDLER)(NDIS_HANDLE module, NET_PNP_EVENT_NOTIFICATION *);
typedef VOID (*FILTER_STATUS_HANDLER)(NDIS_HANDLE module, PVOID indication);
typedef NDIS_STATUS (*FILTER_DIRECT_OID_REQUEST_HANDLER)(NDIS_HANDLE module, NDIS_OID_REQUEST *);
typedef VOID (*FILTER_DIRECT_OID_REQUEST_COMPLETE_HANDLER)(NDIS_HANDLE module, NDIS_OID_REQUEST *, NDIS_STATUS);
typedef VOID (*PDRIVER_UNLOAD)(DRIVER_OBJECT *);

// Handlers of the extensible switch.
typedef NDIS_STATUS (*NDIS_SWITCH_ALLOCATE_NET_BUFFER_LIST_FORWARDING_CONTEXT_HANDLER)(NDIS_SWITCH_CONTEXT,
                                                                                       NET_BUFFER_LIST *);
typedef VOID (*NDIS_SWITCH_FREE_NET_BUFFER_LIST_FORWARDING_CONTEXT_HANDLER)(NDIS_SWITCH_CONTEXT, NET_BUFFER_LIST *);
typedef NDIS_STATUS (*NDIS_SWITCH_COPY_NET_BUFFER_LIST_INFO_HANDLER)(NDIS_SWITCH_CONTEXT, NET_BUFFER_LIST *to,
                                                                     NET_BUFFER_LIST *from, UINT32 flags);
typedef NDIS_STATUS (*NDIS_SWITCH_ADD_NET_BUFFER_LIST_DESTINATION_HANDLER)(NDIS_SWITCH_CONTEXT, NET_BUFFER_LIST *,
                                                                           NDIS_SWITCH_PORT_DESTINATION *);
typedef NDIS_STATUS (*NDIS_SWITCH_GROW_NET_BUFFER_LIST_DESTINATIONS_HANDLER)(
    NDIS_SWITCH_CONTEXT, NET_BUFFER_LIST *, UINT32 more, NDIS_SWITCH_FORWARDING_DESTINATION_ARRAY **);
typedef VOID (*NDIS_SWITCH_GET_NET_BUFFER_LIST_DESTINATIONS_HANDLER)(NDIS_SWITCH_CONTEXT, NET_BUFFER_LIST *,
                                                                     NDIS_SWITCH_FORWARDING_DESTINATION_ARRAY **);
typedef NDIS_STATUS (*NDIS_SWITCH_UPDATE_NET_BUFFER_LIST_DESTINATIONS_HANDLER)(
    NDIS_SWITCH_CONTEXT, NET_BUFFER_LIST *, UINT32 more, NDIS_SWITCH_FORWARDING_DESTINATION_ARRAY *);
typedef VOID (*NDIS_SWITCH_REPORT_FILTERED_NET_BUFFER_LISTS_HANDLER)(
    NDIS_SWITCH_CONTEXT, const UNICODE_STRING *guid, const UNICODE_STRING *name, NDIS_SWITCH_PORT_ID, UINT32 flags,
    UINT32 count, NET_BUFFER_LIST *, const UNICODE_STRING *reason);

#define IMPORT __declspec(dllimport)

// ntoskrnl.exe
IMPORT PVOID ExAllocatePool2(POOL_FLAGS, SIZE_T bytes, ULONG tag);
IMPORT VOID ExFreePoolWithTag(PVOID, ULONG tag);
IMPORT PVOID MmMapLockedPagesSpecifyCache(MDL *, CHAR mode, INT cache, PVOID address, ULONG bug_check, ULONG priority);

// ndis.sys
IMPORT NDIS_STATUS NdisFRegisterFilterDriver(DRIVER_OBJECT *, NDIS_HANDLE context, NDIS_FILTER_DRIVER_CHARACTERISTICS *,
                                             NDIS_HANDLE *driver);
IMPORT VOID NdisFDeregisterFilterDriver(NDIS_HANDLE driver);
IMPORT NDIS_STATUS NdisFGetOptionalSwitchHandlers(NDIS_HANDLE filter, NDIS_SWITCH_CONTEXT *,
                                                  NDIS_SWITCH_OPTIONAL_HANDLERS *);
IMPORT NDIS_STATUS NdisFSetAttributes(NDIS_HANDLE filter, NDIS_HANDLE module, NDIS_FILTER_ATTRIBUTES *);
IMPORT VOID NdisFSendNetBufferLists(NDIS_HANDLE filter, NET_BUFFER_LIST *, NDIS_PORT_NUMBER, ULONG flags);
IMPORT VOID NdisFSendNetBufferListsComplete(NDIS_HANDLE filter, NET_BUFFER_LIST *, ULONG flags);
IMPORT VOID NdisFIndicateReceiveNetBufferLists(NDIS_HANDLE filter, NET_BUFFER_LIST *, NDIS_PORT_NUMBER, ULONG count,
                                               ULONG flags);
IMPORT VOID NdisFReturnNetBufferLists(NDIS_HANDLE filter, NET_BUFFER_LIST *, ULONG flags);
IMPORT NDIS_STATUS NdisAllocateCloneOidRequest(NDIS_HANDLE filter, NDIS_OID_REQUEST *, UINT tag, NDIS_OID_REQUEST **);
IMPORT VOID NdisFreeCloneOidRequest(NDIS_HANDLE filter, NDIS_OID_REQUEST *);
IMPORT NDIS_STATUS NdisFOidRequest(NDIS_HANDLE filter, NDIS_OID_REQUEST *);
IMPORT VOID NdisFOidRequestComplete(NDIS_HANDLE filter, NDIS_OID_REQUEST *, NDIS_STATUS);
IMPORT VOID NdisFCancelOidRequest(NDIS_HANDLE filter, PVOID id);
IMPORT NDIS_STATUS NdisFDirectOidRequest(NDIS_HANDLE filter, NDIS_OID_REQUEST *);
IMPORT VOID NdisFDirectOidRequestComplete(NDIS_HANDLE filter, NDIS_OID_REQUEST *, NDIS_STATUS);
IMPORT VOID NdisFIndicateStatus(NDIS_HANDLE filter, PVOID indication);
IMPORT NDIS_STATUS NdisFNetPnPEvent(NDIS_HANDLE filter, NET_PNP_EVENT_NOTIFICATION *);
IMPORT VOID NdisFDevicePnPEventNotify(NDIS_HANDLE filter, PVOID event);
IMPORT NDIS_HANDLE NdisAllocateNetBufferListPool(NDIS_HANDLE filter, NET_BUFFER_LIST_POOL_PARAMETERS *);
IMPORT VOID NdisFreeNetBufferListPool(NDIS_HANDLE pool);
IMPORT NET_BUFFER_LIST *NdisAllocateNetBufferAndNetBufferList(NDIS_HANDLE pool, USHORT context, USHORT back_fill, MDL *,
                                                              ULONG offset, SIZE_T length);
IMPORT VOID NdisFreeNetBufferList(NET_BUFFER_LIST *);
IMPORT PVOID NdisAllocateRWLock(NDIS_HANDLE filter);
IMPORT VOID NdisFreeRWLock(PVOID lock);
IMPORT VOID NdisAcquireRWLockRead(PVOID lock, LOCK_STATE_EX *, UCHAR flags);
IMPORT VOID NdisAcquireRWLockWrite(PVOID lock, LOCK_STATE_EX *, UCHAR flags);
IMPORT VOID NdisReleaseRWLock(PVOID lock, LOCK_STATE_EX *);
IMPORT VOID NdisInitializeEvent(NDIS_EVENT *);
IMPORT VOID NdisSetEvent(NDIS_EVENT *);
IMPORT BOOLEAN NdisWaitEvent(NDIS_EVENT *, UINT milliseconds);
