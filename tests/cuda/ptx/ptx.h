/* ptx.h - an interpreter of the PTX that rsrc emits, for machines without a GPU.
 *
 * It executes warp by warp in random order, and lanes separately where they diverge. It reports
 * errors that give garbage on a GPU: bytes that are out of bounds, misaligned or never written,
 * registers that were never set, accesses of threads that neither a barrier nor a signal with its
 * fences orders, and warps that do not meet at a barrier or a shuffle. An instruction that it does
 * not know is refused by name and line.
 *
 *   ptx_parse.c       declarations, operands, labels; no text is looked at afterwards
 *   ptx_decode.c      opcodes to instructions
 *   ptx_operations.*  a row for every instruction that computes within a lane
 *   ptx_memory.c      bytes, and who touched them when
 *   ptx_warp.c        what an instruction does in the lanes of a warp
 *   ptx_execute.c     who runs when: lanes, warps, blocks
 *
 * Not thread-safe; nothing is global.
 */
#ifndef TESTS_CUDA_PTX_H
#define TESTS_CUDA_PTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

#define PTX_LANES 32u
#define PTX_ALL_LANES UINT32_MAX
#define PTX_MAX_OPERANDS 16u
#define PTX_BLOCK_THREADS 1024u /* at most */
#define PTX_MAX_WARPS (PTX_BLOCK_THREADS / PTX_LANES)

/* The first error; "" if there was none. */
struct ptx_error {
    uint32_t line; /* line of the text; 0: none */
    char text[320];
};

/* Keeps the first error. */
void ptx_fail(struct ptx_error *error, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- instructions ---------------------------------------------------------------------------- */

/* The type of an operand. */
enum ptx_type {
    PTX_NONE,
    PTX_PRED,
#define PTX_TYPES(X)                                                                               \
    X(U8, u8)                                                                                      \
    X(S8, s8)                                                                                      \
    X(U16, u16)                                                                                    \
    X(S16, s16)                                                                                    \
    X(U32, u32)                                                                                    \
    X(S32, s32)                                                                                    \
    X(U64, u64)                                                                                    \
    X(S64, s64)                                                                                    \
    X(F32, f32)                                                                                    \
    X(F64, f64)
#define X(id, name) PTX_##id,
    PTX_TYPES(X)
#undef X
};

/* Bits of a register of this type; 1 for predicates. */
uint32_t ptx_type_bits(enum ptx_type type);

/* A value in every lane of a warp: the bits of an integer, upper bits 0; predicates 0 or 1. */
typedef uint64_t ptx_row[PTX_LANES];

/* d = f(a, b, c, e) in all lanes. Pointers of unused sources are undefined. */
typedef void ptx_function(uint64_t *d, const uint64_t *a, const uint64_t *b, const uint64_t *c,
                          const uint64_t *e);

struct ptx_operation {
    const char *name; /* "add.s32" */
    enum ptx_type result;
    enum ptx_type source[4]; /* PTX_NONE: there is none */
    ptx_function *run;
};

/* NULL: there is none of that name. */
const struct ptx_operation *ptx_find_operation(const char *name);

enum ptx_kind {
    PTX_COMPUTE, /* operand: result, sources */
    PTX_PACK,    /* operand: result, low part, high part */
    PTX_UNPACK,  /* operand: low part, high part, source */
    PTX_LOAD,    /* operand: address, registers; so are those of memory: */
    PTX_STORE,
    PTX_ATOMIC, /* operand: address, result or PTX_NO_OPERAND, one or two sources */
    PTX_BRANCH,
    PTX_EXIT,
    PTX_FENCE,     /* with `of_device`, one that signals between blocks need: struct ptx_signal */
    PTX_DEPEND,    /* waits for the launches before; see ptx_launch.dependent */
    PTX_BARRIER,   /* of the block; operand: none */
    PTX_WARP_SYNC, /* operand: mask */
    PTX_SHUFFLE,   /* operand: result, predicate or none, source, lane, clamp, mask */
    PTX_REDUCE,    /* operand: result, source, mask */
    PTX_VOTE,      /* operand: result, predicate, mask; PTX_AND: all, PTX_OR: any */
    PTX_MMA        /* operand: d[4], a[4], b[2], c[4] */
};

enum ptx_space { PTX_GENERIC, PTX_GLOBAL, PTX_SHARED, PTX_PARAM };

/* The action of an atomic, a reduction or a vote. */
enum ptx_action {
    PTX_ADD,
    PTX_MIN,
    PTX_MAX,
    PTX_AND,
    PTX_OR,
    PTX_XOR,
    PTX_EXCHANGE,
    PTX_COMPARE_SWAP,
    PTX_INCREMENT, /* 0 after the operand */
    PTX_BALLOT
};

enum ptx_shuffle { PTX_UP, PTX_DOWN, PTX_BUTTERFLY, PTX_INDEX };

#define PTX_NO_OPERAND INT32_MIN

struct ptx_instruction {
    enum ptx_kind kind;
    enum ptx_space space;
    enum ptx_type type; /* of memory, atomics, reductions */
    enum ptx_action action;
    enum ptx_shuffle shuffle;
    ptx_function *run; /* PTX_COMPUTE */
    int32_t predicate; /* a register, or PTX_NO_OPERAND */
    bool negated;
    bool uniform;            /* bra.uni */
    bool of_device;          /* PTX_FENCE: for threads of other blocks, too */
    bool a_signed, b_signed; /* PTX_MMA */
    uint32_t mma_k;          /* PTX_MMA: 16 or 32 */
    uint32_t n_operands;
    int32_t operand[PTX_MAX_OPERANDS]; /* number of a register, or ~ of a constant's number */
    uint64_t offset;                   /* added to an address */
    uint32_t target;                   /* PTX_BRANCH */
    uint32_t line;
    uint32_t name; /* of the opcode, in ptx_module.opcodes */
};

/* Registers that every thread has; they are set when the thread starts. */
#define PTX_SPECIALS(X)                                                                            \
    X(TID_X, "%tid.x")                                                                             \
    X(TID_Y, "%tid.y")                                                                             \
    X(TID_Z, "%tid.z")                                                                             \
    X(NTID_X, "%ntid.x")                                                                           \
    X(NTID_Y, "%ntid.y")                                                                           \
    X(NTID_Z, "%ntid.z")                                                                           \
    X(CTAID_X, "%ctaid.x")                                                                         \
    X(CTAID_Y, "%ctaid.y")                                                                         \
    X(CTAID_Z, "%ctaid.z")                                                                         \
    X(NCTAID_X, "%nctaid.x")                                                                       \
    X(NCTAID_Y, "%nctaid.y")                                                                       \
    X(NCTAID_Z, "%nctaid.z")                                                                       \
    X(LANEID, "%laneid")
enum ptx_special {
#define X(id, name) PTX_##id,
    PTX_SPECIALS(X)
#undef X
        PTX_SPECIAL_COUNT
};

struct ptx_parameter {
    const char *name;
    uint32_t size_bytes, offset;
};

struct ptx_kernel {
    const char *name;
    struct ptx_parameter *parameters;
    uint32_t n_parameters, parameter_bytes;
    uint32_t max_threads[3]; /* .maxntid or .reqntid; 0: not said */
    bool exact_threads;      /* .reqntid */
    uint32_t shared_bytes;
    uint32_t n_registers; /* of a thread, those of PTX_SPECIALS first */
    const ptx_row *constants;
    struct ptx_instruction *code; /* ends with PTX_EXIT */
    uint32_t n_instructions;
};

struct ptx_module {
    const char *target; /* "sm_90" */
    struct ptx_kernel *kernels;
    uint32_t n_kernels;
    const char **opcodes; /* every name once */
    uint32_t n_opcodes;
};

/* Reads a text of size_bytes, which need not end in NUL; all memory is the arena's. False: *error
 * says what is wrong. */
bool ptx_parse(struct rsrc_arena *arena, const char *text, size_t size_bytes,
               struct ptx_module *out, struct ptx_error *error);
/* NULL: there is none of that name. */
const struct ptx_kernel *ptx_find_kernel(const struct ptx_module *module, const char *name);

/* ---- memory ---------------------------------------------------------------------------------- */

#define PTX_SHARED_BASE 1024u                      /* addresses of shared memory begin here */
#define PTX_SHARED_WINDOW UINT64_C(0x7e0000000000) /* added to them: generic addresses */
#define PTX_GLOBAL_BASE UINT64_C(0x7f0000000000)

/* The last accesses of a byte. Time is a counter of the memory, which advances where threads are
 * ordered. */
struct ptx_trace {
    uint32_t writer, write_time; /* a thread of the grid plus 1; 0: nobody */
    uint32_t reader, read_time;  /* a thread, a warp or a block: see ptx_memory.c */
};

/* Bytes with consecutive addresses. */
struct ptx_region {
    uint64_t base, size_bytes;
    uint8_t *bytes;
    uint8_t *known;           /* 1: was written */
    struct ptx_trace *traces; /* NULL: not traced yet */
    bool is_global;
};

struct ptx_memory {
    struct ptx_region *regions; /* global memory, in the order of addresses */
    uint32_t n_regions, capacity;
    uint64_t next;
    uint32_t time;
    uint32_t chain_time; /* when the last launch began that was not dependent */
};

void ptx_memory_init(struct ptx_memory *memory);
void ptx_memory_free(struct ptx_memory *memory);
/* Allocates global memory, not initialised, aligned to 256 bytes, and with unmapped addresses
 * around it. */
uint64_t ptx_allocate(struct ptx_memory *memory, uint64_t size_bytes);
/* False: there is none at the address. */
bool ptx_release(struct ptx_memory *memory, uint64_t address);
/* The bytes from `address` on. NULL: they are not all in one region. */
uint8_t *ptx_bytes(struct ptx_memory *memory, uint64_t address, uint64_t size_bytes);
/* Writes from outside any kernel. False: out of bounds. */
bool ptx_upload(struct ptx_memory *memory, uint64_t address, const void *from, uint64_t size_bytes);
/* Copies results of kernels. False: out of bounds, or never written. */
bool ptx_download(struct ptx_memory *memory, void *to, uint64_t address, uint64_t size_bytes);

/* Sets all bytes. False: out of bounds. */
bool ptx_fill(struct ptx_memory *memory, uint64_t address, uint8_t byte, uint64_t size_bytes);
/* Copies bytes, those that were never written, too. False: out of bounds, or they overlap. */
bool ptx_copy(struct ptx_memory *memory, uint64_t to, uint64_t from, uint64_t size_bytes);

/* A word by which blocks of a launch tell each other that they have written. What a block did
 * before a barrier is released by a thread that executes, after it, a fence of the device and then
 * an atomic on the word. A thread that executes an atomic there later, and then a fence, is ordered
 * after what was released; so are the threads of its block from the next barrier on. What
 * a thread has acquired before its fence it releases, too. (PTX orders more: also the thread's own
 * accesses between barrier and fence.) */
struct ptx_signal {
    uint64_t address;
    uint32_t *until;   /* of every block: accesses before this time are released; 0: none */
    uint32_t n_blocks; /* that released something */
};
#define PTX_SIGNALS 32u /* of a launch; atomics on further words order nothing */
struct ptx_signals {
    struct ptx_signal list[PTX_SIGNALS];
    uint32_t n, n_blocks; /* n_blocks: of the grid */
};

/* An access of one thread. */
struct ptx_access {
    uint32_t thread;     /* PTX_BLOCK_THREADS * block + number in it */
    uint32_t block_time; /* of the last barrier, or the block's start */
    uint32_t warp_time;  /* of the last barrier of the warp */
    uint32_t start;      /* of the launch; of the block, for its shared memory */
    uint32_t since;      /* accesses from then to `start` may still be under way; `start`: none */
    uint32_t acquired;   /* a bit for each of the signals after which the thread is ordered */
    const struct ptx_signals *signals;
    uint64_t address;
    uint32_t size_bytes;
    bool atomic;
};

struct ptx_region *ptx_find_region(struct ptx_memory *memory, uint64_t address);
/* Checks an access: the bytes may be read or, with `value`, are written. NULL: the access is an
 * error, and `text` says which. */
const uint8_t *ptx_read(const struct ptx_memory *memory, struct ptx_region *region,
                        const struct ptx_access *access, char text[256]);
bool ptx_write(const struct ptx_memory *memory, struct ptx_region *region,
               const struct ptx_access *access, const void *value, char text[256]);

/* ---- execution ------------------------------------------------------------------------------- */

struct ptx_launch {
    const struct ptx_kernel *kernel;
    uint32_t grid[3], block[3];
    const void *parameters; /* kernel->parameter_bytes, as the kernel lays them out */
    uint64_t seed;          /* seed for the order of lanes, warps and blocks */
    uint64_t max_steps;     /* instructions of warps, for endless loops; 0: plenty */
    bool
        dependent; /* begins before the launch before it has ended, so that nothing is ordered after
                       the launches since the last one that is not dependent, until a thread
                       executes griddepcontrol.wait, which each must */
};

/* Counts of executed instructions are added to these, if they are not NULL. */
struct ptx_counts {
    uint64_t warp_instructions;   /* a warp's instruction with at least one lane */
    uint64_t thread_instructions; /* its lanes */
    uint64_t *by_instruction;     /* [kernel->n_instructions] of warps, or NULL */
};

/* Runs the kernel to its end. False: *error says what the kernel did wrong. */
bool ptx_run(struct ptx_memory *memory, const struct ptx_launch *launch, struct ptx_counts *counts,
             struct ptx_error *error);

/* ---- between ptx_execute.c and ptx_warp.c ---------------------------------------------------- */

struct ptx_warp {
    uint32_t number;
    uint32_t lanes;             /* that there are */
    uint32_t live;              /* lanes that have not ended */
    uint32_t waiting;           /* lanes at an instruction of the warp, for the others */
    uint32_t after;             /* lanes that have waited for the launches before */
    uint32_t fenced[PTX_LANES]; /* the last barrier before a lane's last fence; 0: no fence */
    uint32_t seen[PTX_LANES], acquired[PTX_LANES]; /* signals: by atomics, and then by a fence */
    uint32_t passed[PTX_LANES]; /* signals that a lane, or its block, had acquired at its fence */
    bool at_barrier;
    uint32_t sync_time;
    uint32_t group;              /* lanes that continue together from pc; 0: to be chosen */
    uint32_t pc, meeting;        /* meeting: the next place after pc where other lanes wait */
    uint32_t lane_pc[PTX_LANES]; /* of lanes that are not in the group */
    ptx_row *registers;
    uint32_t *known; /* of every register, the lanes in which it was set */
};

struct ptx_block {
    struct ptx_memory *memory;
    const struct ptx_launch *launch;
    struct ptx_error *error;
    struct ptx_region shared;
    uint32_t number; /* of the grid */
    uint32_t id[3];
    uint32_t n_threads, n_warps;
    uint32_t launch_time, start_time, barrier_time;
    uint32_t chain_time; /* launch_time, or for a dependent launch memory->chain_time */
    struct ptx_signals signals;
    uint32_t acquired; /* signals, by all threads */
    struct ptx_warp warps[PTX_MAX_WARPS];
};

/* Executes one instruction in these lanes of a warp. False: it failed, and block->error says
 * why. */
bool ptx_do(struct ptx_block *block, struct ptx_warp *warp, const struct ptx_instruction *in,
            uint32_t lanes);
/* The value of an operand. NULL, after an error: it was not set in one of these lanes. */
const uint64_t *ptx_value(struct ptx_block *block, const struct ptx_warp *warp,
                          const struct ptx_instruction *in, uint32_t operand, uint32_t lanes);

#endif
