/* profile.c - hands out what an engine counted: time and bytes by operation, and what attention and
 * picks read. */
#include <string.h>

#include "engine.h"

rsr_profile_entry *rsr_profile_row(rsr_profile_entry *rows, uint32_t kind, uint32_t role) {
    const bool linear = kind == RSR_OP_LINEAR;
    rsr_profile_entry *row = &rows[linear ? (uint32_t)RSR_OP_KIND_COUNT + role : kind];
    row->name = linear ? rsr_role_name(role) : rsr_op_name(kind);
    return row;
}

static rsr_status report(struct rsr_engine *engine, bool enable, rsr_profile_entry *entries,
                         size_t capacity, size_t *n_entries) {
    const uint32_t entry_bytes = entries != NULL && capacity > 0 ? entries[0].size_bytes : 0;
    size_t n = 0;
    for (uint32_t i = 0; i < RSR_PROFILE_ROWS; i++) {
        if (engine->profile.rows[i].calls == 0)
            continue;
        if (entries != NULL && n < capacity) {
            void *entry = (char *)entries + n * entry_bytes;
            memcpy(entry, &entry_bytes, sizeof(entry_bytes));
            const rsr_status status =
                rsr_write_info(entry, &engine->profile.rows[i], sizeof(rsr_profile_entry), NULL);
            if (status != RSR_OK)
                return status;
        }
        n++;
    }
    if (n_entries != NULL)
        *n_entries = n;
    if (entries != NULL && n > capacity)
        return RSR_ERR_FULL;
    memset(engine->profile.rows, 0, sizeof(engine->profile.rows));
    engine->profile.wanted = enable;
    return RSR_OK;
}

rsr_status rsr_api_engine_profile(rsr_engine *engine, bool enable, rsr_profile_entry *entries,
                                  size_t capacity, size_t *n_entries) {
    if (engine == NULL)
        return RSR_ERR_ARGUMENT;
    rsr_status status = rsr_check_owner(engine->owner_pid, NULL);
    if (status != RSR_OK)
        return status;
    pthread_mutex_lock(&engine->lock);
    status = report(engine, enable, entries, capacity, n_entries);
    pthread_mutex_unlock(&engine->lock);
    return status;
}

/* Copies a total of the profile to the caller; with `reset`, clears its counters, which begin at
 * counts_at. */
static rsr_status take_stats(rsr_engine *engine, void *total, size_t size_bytes, size_t counts_at,
                             bool reset, void *stats) {
    rsr_status status = rsr_check_owner(engine->owner_pid, NULL);
    if (status != RSR_OK)
        return status;
    pthread_mutex_lock(&engine->lock);
    status = rsr_write_info(stats, total, size_bytes, NULL);
    if (status == RSR_OK && reset)
        memset((char *)total + counts_at, 0, size_bytes - counts_at);
    pthread_mutex_unlock(&engine->lock);
    return status;
}

rsr_status rsr_api_engine_attention_stats(rsr_engine *engine, bool reset,
                                          rsr_attention_stats *stats) {
    if (engine == NULL || stats == NULL)
        return RSR_ERR_ARGUMENT;
    rsr_attention_stats *total = &engine->profile.attention;
    return take_stats(engine, total, sizeof(*total), offsetof(rsr_attention_stats, dense), reset,
                      stats);
}

rsr_status rsr_api_engine_head_stats(rsr_engine *engine, bool reset, rsr_head_stats *stats) {
    if (engine == NULL || stats == NULL)
        return RSR_ERR_ARGUMENT;
    rsr_head_stats *total = &engine->profile.head;
    return take_stats(engine, total, sizeof(*total), offsetof(rsr_head_stats, sketched), reset,
                      stats);
}
