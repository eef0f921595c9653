// The names that C has no words for: types of ntdef.h and wdm.h, as the pages of the Windows Driver Kit use them.
#pragma once

typedef void VOID, *PVOID;
typedef signed char CHAR;
typedef unsigned char UCHAR, BOOLEAN, KIRQL;
typedef short CSHORT;
typedef unsigned short USHORT, UINT16, WCHAR;
typedef int INT, LONG, NTSTATUS, NDIS_STATUS;
typedef unsigned int UINT, ULONG, UINT32;
typedef unsigned long long ULONG64, UINT64, ULONG_PTR, SIZE_T, POOL_FLAGS;
typedef PVOID NDIS_HANDLE, NDIS_SWITCH_CONTEXT;
typedef UINT32 NDIS_PORT_NUMBER, NDIS_SWITCH_PORT_ID;
typedef USHORT NDIS_SWITCH_NIC_INDEX;
typedef ULONG NDIS_OID;

#define TRUE 1
#define FALSE 0
#define NULL ((void *)0)
#define UNUSED(parameter) ((void)(parameter))
