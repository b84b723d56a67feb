/* units.h - puts kernels into the units of back ends, and finds them in the cache. */
#ifndef RSRC_DRIVER_UNITS_H
#define RSRC_DRIVER_UNITS_H

#include <pthread.h>

#include "driver/outputs.h"
#include "emit/ptx/emit_ptx.h"

/* Back ends that may make one kind of unit, the preferred one first. */
#define RSRC_MAX_MAKERS 4u

/* Emitted kernels of one kind: a unit (a file) each, or all in one. */
struct rsrc_unit_writer {
    bool active;
    enum rsr_unit_kind kind; /* kind of the final files: OBJ may go through C and the C compiler */
    bool one_unit;           /* all kernels in one text, written to `sink` */
    const char *dir;
    struct rsrc_sink sink;
    struct rsrc_maker {
        const struct rsrc_backend *backend;
        enum rsr_unit_kind kind; /* the kind that is asked for */
    } makers[RSRC_MAX_MAKERS];
    uint32_t n_makers;
    struct rsrc_open_unit { /* being filled; only `one_unit` gets more than one kernel */
        const struct rsrc_maker *maker; /* NULL: none is open */
        struct rsr_unit unit;
        struct rsr_hash key;       /* key of its contents, if there is a cache */
        struct rsrc_buffer bodies; /* assembly that follows the unit's own */
    } open;
    struct rsrc_unit_file {
        const char *name;
        enum rsr_unit_kind kind;
    } * files; /* written, or waiting to be finished */
    uint32_t n_files;
};

/* Units that have all their kernels but are not finished. Code generation takes longest, so the
 * thread that closes a unit puts it here, and finishes it after its turn to emit. */
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
    struct rsrc_unit_writer kinds[RSR_UNIT_KIND_COUNT]; /* requested by --emit */
    struct rsrc_emitted_kernel {
        const char *key;  /* equal kernels have equal keys */
        const char *name; /* name by what the kernel computes; another key may have it too */
        const char *function;
    } * kernels;
    uint32_t n_kernels;
    const char **aliases; /* "layer's=function", for the linker */
    uint32_t n_aliases;
    pthread_mutex_t lock; /* number of waiting units */
    struct rsrc_pending_unit *pending;
};

/* The assembled bodies of one kernel; both are empty if there is no assembler for the target. */
struct rsrc_bodies {
    struct rsrc_buffer text, object;
};

/* code_cache.c */
struct rsrc_cache_key rsrc_key_of_assembly(const struct rsrc_run *run, const struct rsr_spec *spec,
                                           const struct rsrc_buffer *text);
/* The key of a measured time; `numbers` describe what was run. */
struct rsrc_cache_key rsrc_key_of_time(const struct rsrc_run *run, const struct rsr_spec *spec,
                                       const char *cpu, const uint64_t *numbers,
                                       uint32_t n_numbers);
/* PTX in the cache, for a target. Borrows both. */
struct rsrc_ptx_of_target {
    struct rsrc_run *run;
    const struct rsr_spec *spec;
};
struct rsrc_ptx_store rsrc_ptx_store(struct rsrc_ptx_of_target *of);
/* Adds a kernel to the key of its unit; does nothing without a cache. */
void rsrc_begin_unit_key(const struct rsrc_run *run, const struct rsrc_maker *maker,
                         const struct rsr_unit *unit, const struct rsr_spec *spec,
                         const char *title, struct rsr_hash *hash);
void rsrc_add_to_unit_key(const struct rsrc_run *run, const struct rsr_kernel *kernel,
                          struct rsr_hash *hash);
/* Calls rsrc_compile_units() for units whose objects are not in the cache. */
RSRC_NODISCARD enum rsrc_status rsrc_compile_cached(struct rsrc_run *run, const char *dir,
                                                    const char *const *names, uint32_t n_names);

/* unit_writers.c */
/* Checks that --backend names a back end. */
RSRC_NODISCARD enum rsrc_status rsrc_check_backend(struct rsrc_run *run);
/* Lists the back ends that make a kind, the preferred one first; returns their number. */
uint32_t rsrc_list_makers(const struct rsrc_run *run, enum rsr_unit_kind kind,
                          struct rsrc_maker makers[RSRC_MAX_MAKERS]);
/* Whether objects go through C, unless its back end declines a kernel. */
bool rsrc_makes_c_for_objects(const struct rsrc_run *run);
/* Opens a writer: its units become files of `dir`, unless all kernels are one unit. */
void rsrc_open_units(struct rsrc_units *units, struct rsrc_unit_writer *writer,
                     enum rsr_unit_kind kind, const char *dir);
/* Whether some unit calls bodies that are not in its own text. */
bool rsrc_wants_bodies(const struct rsrc_units *units);
/* Gives the kernel to every writer, unless an equal kernel was given before; *function is the name
 * that the module calls. */
RSRC_NODISCARD enum rsrc_status rsrc_emit_kernel(struct rsrc_units *units,
                                                 const struct rsrc_item *item,
                                                 const struct rsr_kernel *kernel,
                                                 const struct rsrc_bodies *bodies,
                                                 const char **function);
/* Makes a unit of the tables for the linker. A directory of units (NULL: none) gets <name>.c and
 * the files that it includes. */
RSRC_NODISCARD enum rsrc_status rsrc_write_tables(struct rsrc_units *units, const char *dir,
                                                  const char *name,
                                                  const struct rsrc_tables *tables);
/* Finishes waiting units. Any thread, while it holds no lock. */
RSRC_NODISCARD enum rsrc_status rsrc_finish_pending_units(struct rsrc_units *units);
RSRC_NODISCARD enum rsrc_status rsrc_close_units(struct rsrc_units *units);
/* The writer's units of C that must become objects. */
RSRC_NODISCARD enum rsrc_status rsrc_compile_c_units(struct rsrc_units *units,
                                                     const struct rsrc_unit_writer *writer);
void rsrc_abandon_units(struct rsrc_units *units);

#endif
