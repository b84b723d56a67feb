/* units.h - kernels to the units of back ends, and what the cache has of them. */
#ifndef RSRC_DRIVER_UNITS_H
#define RSRC_DRIVER_UNITS_H

#include <pthread.h>

#include "driver/outputs.h"

/* Back ends that may make one kind of unit, the preferred one first. */
#define RSRC_MAX_MAKERS 4u

/* Emitted kernels of one kind: a unit (a file) each, or all in one. */
struct rsrc_unit_writer {
    bool active;
    enum rsr_unit_kind kind; /* of the files in the end: OBJ may go through C and the C compiler */
    bool one_unit;           /* everything in one text, into `sink` */
    const char *dir;
    struct rsrc_sink sink;
    struct rsrc_maker {
        const struct rsrc_backend *backend;
        enum rsr_unit_kind kind; /* what it is asked for */
    } makers[RSRC_MAX_MAKERS];
    uint32_t n_makers;
    struct rsrc_open_unit { /* being filled; only `one_unit` gets more than one kernel */
        const struct rsrc_maker *maker; /* NULL: none is open */
        struct rsr_unit unit;
        struct rsr_hash key;       /* of what it holds, where there is a cache */
        struct rsrc_buffer bodies; /* assembly that follows the unit's own */
    } open;
    struct rsrc_unit_file {
        const char *name;
        enum rsr_unit_kind kind;
    } * files; /* written, or waiting to be finished */
    uint32_t n_files;
};

/* Units that have all their kernels and are not yet finished: code generation is the longest part,
 * so whoever closes a unit leaves it here and finishes it when it is no longer its turn to emit. */
struct rsrc_pending_unit {
    struct rsrc_unit_writer *writer;
    const struct rsrc_maker *maker;
    struct rsr_unit unit;
    struct rsrc_cache_key key;
    struct rsrc_buffer bodies;
    struct rsrc_pending_unit *next;
};

struct rsrc_units {
    struct rsrc_run *run;
    const struct rsrc_input_set *inputs;
    struct rsrc_unit_writer link;                       /* of the module */
    struct rsrc_unit_writer kinds[RSR_UNIT_KIND_COUNT]; /* asked for by themselves */
    struct rsrc_emitted_kernel {
        const char *key;  /* equal kernels have equal ones */
        const char *name; /* by what it computes; another key may have it too */
        const char *function;
    } * kernels;
    uint32_t n_kernels;
    const char **aliases; /* "layer's=function", for the linker */
    uint32_t n_aliases;
    pthread_mutex_t lock; /* of those that wait */
    struct rsrc_pending_unit *pending;
};

/* The bodies of one kernel, assembled; both empty where the target's assembler does not serve. */
struct rsrc_bodies {
    struct rsrc_buffer text, object;
};

/* code_cache.c */
struct rsrc_cache_key rsrc_key_of_assembly(const struct rsrc_run *run, const struct rsr_spec *spec,
                                           const struct rsrc_buffer *text);
/* Of a time that was measured: `numbers` say what was run. */
struct rsrc_cache_key rsrc_key_of_time(const struct rsrc_run *run, const struct rsr_spec *spec,
                                       const char *cpu, const uint64_t *numbers,
                                       uint32_t n_numbers);
/* The key of a unit grows with its kernels; nothing is done where there is no cache. */
void rsrc_begin_unit_key(const struct rsrc_run *run, const struct rsrc_maker *maker,
                         const struct rsr_unit *unit, const struct rsr_spec *spec,
                         const char *title, struct rsr_hash *hash);
void rsrc_add_to_unit_key(const struct rsrc_run *run, const struct rsr_kernel *kernel,
                          struct rsr_hash *hash);
/* rsrc_compile_units() for those whose objects the cache does not have. */
RSRC_NODISCARD enum rsrc_status rsrc_compile_cached(struct rsrc_run *run, const char *dir,
                                                    const char *const *names, uint32_t n_names);

/* unit_writers.c */
/* Whether --backend names one. */
RSRC_NODISCARD enum rsrc_status rsrc_check_backend(struct rsrc_run *run);
/* Back ends that make a kind, the preferred one first; how many. */
uint32_t rsrc_list_makers(const struct rsrc_run *run, enum rsr_unit_kind kind,
                          struct rsrc_maker makers[RSRC_MAX_MAKERS]);
/* The writer's units go to a directory, unless they are one. */
void rsrc_open_units(struct rsrc_units *units, struct rsrc_unit_writer *writer,
                     enum rsr_unit_kind kind, const char *dir);
/* Is there a unit that calls bodies rather than having them in its own text? */
bool rsrc_wants_bodies(const struct rsrc_units *units);
/* Gives the kernel to everyone who collects them, once where it equals another; *function is what
 * the module calls. */
RSRC_NODISCARD enum rsrc_status rsrc_emit_kernel(struct rsrc_units *units,
                                                 const struct rsrc_item *item,
                                                 const struct rsr_kernel *kernel,
                                                 const struct rsrc_bodies *bodies,
                                                 const char **function);
/* <name>.c with what it includes, to the linker and to a directory of units (NULL: none). */
RSRC_NODISCARD enum rsrc_status rsrc_write_c(struct rsrc_units *units, const char *dir,
                                             const char *name, const struct rsrc_buffer *text);
/* Any thread, while no lock is held. */
RSRC_NODISCARD enum rsrc_status rsrc_finish_pending_units(struct rsrc_units *units);
RSRC_NODISCARD enum rsrc_status rsrc_close_units(struct rsrc_units *units);
/* Units of the writer that are C and must become objects. */
RSRC_NODISCARD enum rsrc_status rsrc_compile_c_units(struct rsrc_units *units,
                                                     const struct rsrc_unit_writer *writer);
void rsrc_abandon_units(struct rsrc_units *units);

#endif
