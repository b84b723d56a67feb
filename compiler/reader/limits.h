/* limits.h - the largest sizes that a configuration may have: at least 4 times those of every
 * published model; products of two stay far below 2^64. */
#ifndef RSRC_READER_LIMITS_H
#define RSRC_READER_LIMITS_H

#define RSRC_MAX_HIDDEN 65536u
#define RSRC_MAX_FFN 262144u
#define RSRC_MAX_LAYERS 1024u
#define RSRC_MAX_HEADS 1024u
#define RSRC_MAX_HEAD_DIM 1024u
#define RSRC_MAX_VOCAB (1u << 22)
#define RSRC_MAX_CONTEXT (1u << 24)

#endif
