/* profile.h - what a model does on a text, as a calibration measured it, for the planner.
 *
 * A profile is JSON (profile.c draws it). It belongs to one checkpoint, by its hash, and to no
 * target, because activations have the same bits on all. Profiles of several texts are merged: a
 * mean of each counts as often as its text has tokens.
 */
#ifndef RSRC_PROFILE_PROFILE_H
#define RSRC_PROFILE_PROFILE_H

#include "base/arena.h"
#include "base/buffer.h"
#include "ir.h"

/* The version that is written and read; it grows when a member changes its meaning. What only
 * later calibrations measure may be missing. */
#define RSRC_PROFILE_VERSION 1u
#define RSRC_PROFILE_MAX_TOKENS (UINT64_C(1) << 40)

/* Channels that a list names in a layer after a squared ReLU: means of a token. */
struct rsrc_activity {
    uint64_t n_tokens; /* that were counted; 0: nothing is known */
    double active;     /* channels */
    double runs;       /* groups of active channels side by side */
};

struct rsrc_profile_layer {
    uint32_t block;
    enum rsr_list list; /* ROWS: of up; COLS: of down */
    uint32_t n_channels;
    struct rsrc_activity activity;
};

/* Rows of the head that a sketch leaves open to picks of the likeliest token: means of a pick. */
struct rsrc_open_rows {
    uint64_t n_picks;             /* that were counted; 0: nothing is known */
    uint32_t n_rows;              /* of the head */
    double open[RSR_HEAD_PLANES]; /* by one plane, by two, ... */
};

/* Spreads of a block's attention logits over the keys of a query: means over queries. */
struct rsrc_profile_spreads {
    uint32_t block;
    uint32_t n_heads;
    double *spread; /* [n_heads], of KV heads */
};

struct rsrc_profile {
    uint8_t checkpoint[16]; /* hash */
    uint64_t n_tokens;      /* of every layer's activity */
    struct rsrc_profile_layer *layers;
    uint32_t n_layers;
    struct rsrc_open_rows head;
    struct rsrc_profile_spreads *attention; /* of blocks with keys and values, in their order */
    uint32_t n_attention;
};

/* No spread is larger: logits of float32 are not. */
#define RSRC_PROFILE_MOST_SPREAD 1e9
#define RSRC_PROFILE_MOST_HEADS 4096u

void rsrc_print_profile(const struct rsrc_profile *profile, struct rsrc_buffer *out);
/* Reads what rsrc_print_profile() wrote; the layers are in the arena. Refuses another version,
 * members that are missing or impossible, and a layer that is there twice. `file` is for
 * messages. */
RSRC_NODISCARD enum rsrc_status rsrc_read_profile(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                  const char *file, const void *bytes,
                                                  uint64_t size_bytes, struct rsrc_profile *out);
/* "up" or "down" */
const char *rsrc_profile_role(enum rsr_list list);
/* Adds the tokens of `more` to those of `sum`. */
void rsrc_merge_activity(struct rsrc_activity *sum, const struct rsrc_activity *more);
/* Adds the picks of `more`, of a head with as many rows, to those of `sum`. */
void rsrc_merge_open_rows(struct rsrc_open_rows *sum, const struct rsrc_open_rows *more);
/* Adds the spread of n_more tokens to that of n tokens. */
void rsrc_merge_spread(double *sum, uint64_t n, double more, uint64_t n_more);

#endif
