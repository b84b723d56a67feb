/* tensor_data.h - facts about tensors, and their elements as float32. */
#ifndef RSRC_MODEL_TENSOR_DATA_H
#define RSRC_MODEL_TENSOR_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ir.h"

/* The place of the byte `offset` of a tensor. */
struct rsrc_place rsrc_tensor_place(const struct rsr_tensor *tensor, uint64_t offset);

/* Lower-case name and element size of a type: "bf16", 2. */
const char *rsrc_dtype_name(enum rsr_dtype dtype);
uint32_t rsrc_dtype_bytes(enum rsr_dtype dtype);
/* The name of its blocks' type, or else of its elements' type. */
const char *rsrc_tensor_type_name(const struct rsr_tensor *tensor);
bool rsrc_dtype_is_float(enum rsr_dtype dtype);

/* Bytes of it from `at` on have been read: rsrc_release_pages(), where it is mapped. */
void rsrc_release_tensor(const struct rsr_tensor *tensor, uint64_t at, uint64_t n_bytes);

/* Converts n elements at `bytes` (unaligned, little-endian) exactly. dtype must be a float type. */
void rsrc_load_floats(enum rsr_dtype dtype, const uint8_t *bytes, size_t n, float *out);

#endif
