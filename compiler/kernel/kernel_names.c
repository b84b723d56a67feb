/* kernel_names.c - the words of a kernel's text form; see kernel_names.h. */
#include "kernel/kernel_names.h"

const char *const rsrc_kop_names[RSR_KOP_COUNT] = {
    [RSR_KOP_COMMENT] = "comment",
    [RSR_KOP_LOOP] = "loop",
    [RSR_KOP_IF] = "if",
    [RSR_KOP_ELSE] = "else",
    [RSR_KOP_END] = "end",
    [RSR_KOP_CONST] = "const",
    [RSR_KOP_PARAM] = "param",
    [RSR_KOP_COPY] = "copy",
    [RSR_KOP_ADD] = "add",
    [RSR_KOP_SUB] = "sub",
    [RSR_KOP_MUL] = "mul",
    [RSR_KOP_MIN] = "min",
    [RSR_KOP_AND] = "and",
    [RSR_KOP_OR] = "or",
    [RSR_KOP_XOR] = "xor",
    [RSR_KOP_SHR] = "shr",
    [RSR_KOP_SHL] = "shl",
    [RSR_KOP_SPLAT] = "splat",
    [RSR_KOP_EXTRACT] = "extract",
    [RSR_KOP_CONVERT] = "convert",
    [RSR_KOP_BITCAST] = "bitcast",
    [RSR_KOP_LOAD] = "load",
    [RSR_KOP_STORE] = "store",
    [RSR_KOP_PREFETCH] = "prefetch",
    [RSR_KOP_ZIP_ADD] = "zip_add",
    [RSR_KOP_HALVES_ADD] = "halves_add",
    [RSR_KOP_DOT_U8S8] = "dot_u8s8",
    [RSR_KOP_MADD_U8S8] = "madd_u8s8",
    [RSR_KOP_DOT_S8S8] = "dot_s8s8",
    [RSR_KOP_MADD_I16] = "madd_i16",
    [RSR_KOP_FMA] = "fma",
    [RSR_KOP_LOAD_LANES] = "load_lanes",
    [RSR_KOP_SHUFFLE16] = "shuffle16",
    [RSR_KOP_TABLE] = "table",
    [RSR_KOP_TABLE2] = "table2",
    [RSR_KOP_SPREAD_BIT] = "spread_bit",
    [RSR_KOP_ZIP_LOW] = "zip_low",
    [RSR_KOP_ZIP_HIGH] = "zip_high",
    [RSR_KOP_PACK_U8] = "pack_u8",
    [RSR_KOP_MIRROR] = "mirror",
    [RSR_KOP_ADD_MEM] = "add_mem",
    [RSR_KOP_SUB_MEM] = "sub_mem",
    [RSR_KOP_CALL] = "call",
    [RSR_KOP_TILE_BEGIN] = "tile_begin",
    [RSR_KOP_TILE_END] = "tile_end",
    [RSR_KOP_TILE_LOAD] = "tile_load",
    [RSR_KOP_TILE_STORE] = "tile_store",
    [RSR_KOP_TILE_DOT_S8S8] = "tile_dot_s8s8",
};

const char *const rsrc_elem_names[RSR_ELEM_COUNT] = {
    [RSR_ELEM_I8] = "i8",   [RSR_ELEM_U8] = "u8",   [RSR_ELEM_I16] = "i16",
    [RSR_ELEM_U16] = "u16", [RSR_ELEM_I32] = "i32", [RSR_ELEM_U32] = "u32",
    [RSR_ELEM_I64] = "i64", [RSR_ELEM_F32] = "f32", [RSR_ELEM_TILE] = "tile"};

const char *const rsrc_kbuf_names[RSR_KBUF_COUNT] = {[RSR_KBUF_X] = "x",
                                                     [RSR_KBUF_Y] = "y",
                                                     [RSR_KBUF_CODES] = "codes",
                                                     [RSR_KBUF_INDEX] = "index",
                                                     [RSR_KBUF_SCALE] = "scale",
                                                     [RSR_KBUF_SCRATCH] = "scratch",
                                                     [RSR_KBUF_COLUMNS] = "columns",
                                                     [RSR_KBUF_SUMS] = "sums"};

const char *const rsrc_kparam_names[RSR_KPARAM_COUNT] = {
    [RSR_KPARAM_LDX] = "ldx",           [RSR_KPARAM_LDY] = "ldy",
    [RSR_KPARAM_N_TOKENS] = "n_tokens", [RSR_KPARAM_TILE_BEGIN] = "tile_begin",
    [RSR_KPARAM_TILE_END] = "tile_end", [RSR_KPARAM_HAS_TABLES] = "has_tables"};

const char *const rsrc_kvariant_names[RSR_VARIANT_COUNT] = {
#define X(id, name) [RSR_VARIANT_##id] = name,
    RSR_VARIANTS(X)
#undef X
};

const char *const rsrc_kinput_names[RSRC_N_INPUTS] = {
    [RSR_INPUT_I8] = "i8", [RSR_INPUT_F32] = "f32"};

const char *const rsrc_kepilogue_names[RSRC_N_EPILOGUES] = {
    [RSR_EPILOGUE_SCALE] = "scaled", [RSR_EPILOGUE_RAW] = "raw"};

bool rsrc_kop_prints_immediate(uint32_t kind) {
    switch (kind) {
    case RSR_KOP_SHR:
    case RSR_KOP_SHL:
    case RSR_KOP_EXTRACT:
    case RSR_KOP_ZIP_ADD:
    case RSR_KOP_SPREAD_BIT:
        return true;
    default:
        return false;
    }
}
