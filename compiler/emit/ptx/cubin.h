/* cubin.h - reads facts about kernels from a cubin. */
#ifndef RSRC_EMIT_PTX_CUBIN_H
#define RSRC_EMIT_PTX_CUBIN_H

#include <stddef.h>
#include <stdint.h>

/* Registers of a thread of the kernel; 0: unknown. The bytes are untrusted. */
uint32_t rsrc_cubin_registers(const void *cubin, size_t size_bytes, const char *symbol);

#endif
