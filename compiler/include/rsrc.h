/* rsrc.h - the compiler as a library.
 *
 * One call compiles one checkpoint, as the program `rsrc` does:
 *
 *     struct rsrc_options options;
 *     rsrc_options_init(&options);
 *     options.input = "model/";
 *     options.output = "model.so";
 *     int exit_code = rsrc_compile(&options, stderr);
 *
 * Diagnostics go to the stream. Strings are borrowed for the duration of the call. One compilation
 * at a time per process, because temporary files are cleaned up process-wide.
 */
#ifndef RSRC_H
#define RSRC_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this header, and of the rsr.h that belongs to it; rsrc_version() is the library's. */
#define RSRC_VERSION_MAJOR 0
#define RSRC_VERSION_MINOR 1
#define RSRC_VERSION_PATCH 0

enum rsrc_exit {
    RSRC_EXIT_OK = 0,
    RSRC_EXIT_ERROR = 1,    /* bad input, bad options, a tool that failed: diagnosed */
    RSRC_EXIT_INTERNAL = 70 /* a defect of the compiler, or memory ran out */
};

/* Bits of rsrc_options.emit. */
enum rsrc_emit {
    RSRC_EMIT_SO = 1,
    RSRC_EMIT_OBJ = 2, /* the module, relocatable; into a directory: an object a kernel */
    RSRC_EMIT_C = 4,
    RSRC_EMIT_RSR = 8,
    RSRC_EMIT_PLAN = 16,
    RSRC_EMIT_STEP = 32,
    RSRC_EMIT_KERNEL = 64,
    RSRC_EMIT_REPORT = 128,
    RSRC_EMIT_LLVM = 256,
    RSRC_EMIT_ASM = 512,
    RSRC_EMIT_PTX = 1024, /* GPU targets */
    RSRC_EMIT_CUBIN = 2048
};

/* Bits of rsrc_options.inputs. */
enum rsrc_inputs { RSRC_INPUTS_I8 = 1, RSRC_INPUTS_F32 = 2 };

/* Facts that a GGUF file may not state; if it states one, an option must not contradict it. */
enum rsrc_i2s_layout { RSRC_I2S_AUTO, RSRC_I2S_X86, RSRC_I2S_ARM };
enum rsrc_activations { RSRC_ACTIVATIONS_AUTO, RSRC_ACTIVATIONS_INT8, RSRC_ACTIVATIONS_FLOAT };

/* Planes of the sketch of a language model's head; AUTO: the number that saves most bytes per
 * token, or none. */
enum rsrc_head_sketch {
    RSRC_HEAD_SKETCH_AUTO,
    RSRC_HEAD_SKETCH_OFF,
    RSRC_HEAD_SKETCH_1,
    RSRC_HEAD_SKETCH_2
};

/* Bits a weight in which an embedding and a head of bfloat16 are stored, without loss; AUTO: 12 for
 * large ones, where no target is a GPU. */
enum rsrc_head_bits { RSRC_HEAD_BITS_AUTO, RSRC_HEAD_BITS_16, RSRC_HEAD_BITS_12 };

enum rsrc_info { RSRC_INFO_NONE, RSRC_INFO_TEXT, RSRC_INFO_JSON };

struct rsrc_variant_choice {
    const char *role;    /* "q", "down", ... or "*" */
    const char *variant; /* "dot", "lut", "fold", "scatter" */
};

struct rsrc_options {
    const char *input; /* .safetensors, .gguf, .npy, index.json or folder; with `from`: a text
                          form */
    const char *const *keep_files; /* further files that no output may replace: response files */
    uint32_t n_keep_files;
    const char *output;       /* NULL: from the input's name; "-": stdout (text kinds) */
    const char *target;       /* comma-separated; default "native" */
    uint32_t emit;            /* enum rsrc_emit bits; default RSRC_EMIT_SO */
    uint32_t inputs;          /* for matrices: enum rsrc_inputs bits; 0: int8 */
    uint32_t activations;     /* for linear layers of GGUF models: enum rsrc_activations */
    uint32_t i2s_layout;      /* enum rsrc_i2s_layout: the machine that quantised to I2_S */
    const char *layers;       /* POSIX extended regular expression over layer names; NULL: all */
    const char *from, *to;    /* pass names; NULL: first, last */
    const char *const *dumps; /* passes to dump on stdout */
    uint32_t n_dumps;
    const struct rsrc_variant_choice *variants;
    uint32_t n_variants;
    const char *plan;            /* text of plans to use; NULL: make plans */
    uint32_t rsr_k;              /* 0: choose */
    uint64_t fold_budget;        /* bytes of code that fold may take if it is not forced; default 4
                                    MiB */
    uint32_t head_sketch;        /* enum rsrc_head_sketch */
    uint32_t head_bits;          /* enum rsrc_head_bits */
    uint32_t relu2_active;       /* per cent of channels that squared ReLU leaves active; 0:
                                    unknown */
    const char *const *profiles; /* files that calibrations wrote, to plan by; several are merged */
    uint32_t n_profiles;
    bool calibrate;              /* run the model on a text first, and plan by what it does ... */
    const char *calibrate_text;  /* ... this file; NULL: the text that rsrc brings */
    const char *profile_output;  /* where a calibration writes its profile; NULL: OUT's name with
                                   .profile.json */
    bool no_reduce;              /* compute every row and read every column */
    bool hollow;                 /* of GPUs: store no codes, embedding and head */
    const char *shard;           /* "I/N": of a module, what rank I of N reads; NULL: all of it */
    bool tune;                   /* choose variants by running them here */
    uint32_t opt_level;          /* optimisation level of the C compiler and back ends; default 2 */
    const char *backend;         /* makes the kernels of modules and objects: "c", "llvm"; NULL:
                                    default */
    uint32_t n_jobs;             /* 0: CPUs */
    bool verify_each;            /* run every pass's verifier */
    bool verbose;                /* show commands */
    bool dry_run;                /* show commands, but run none; nothing is written */
    const char *cache_dir;       /* machine code of earlier compilations; NULL: none is kept */
    bool time_report;            /* print the cost of every pass on the stream of messages */
    bool dependencies;           /* write a make-style dependency file ... */
    const char *dependency_file; /* ... here; NULL: OUT's name with .d */
    bool save_temps;             /* keep the files that are compiled and linked ... */
    const char *temps_dir;       /* ... here; NULL: in <output>.temps */
    bool progress;               /* a progress line on stderr */
    bool json_diagnostics;
    int color;                  /* enum rsrc_color */
    const char *remarks;        /* remarks on choices: POSIX extended regular expression; NULL:
                                   none */
    const char *missed_remarks; /* remarks on what was declined */
    const char *report;         /* "text", "json" or "html", with ":FILE" or to stdout; NULL:
                                   none */
    const char *measured;       /* output of rsr-bench model --profile --json: times for the report;
                                   NULL: none */
    const char *attention_stats; /* output of rsr-run --json: what attention read; NULL: none */
    uint32_t info;               /* enum rsrc_info: only describe the input, on stdout */
    const char *spec_dir;        /* NULL: the installed one */
    const char *cc, *ld;         /* NULL: search */
    const char *cuda_path;       /* a CUDA installation; NULL: search; "none": clang makes PTX */
    const char *cuda_cc;         /* clang, which makes PTX without NVRTC; NULL: search */
    const char *verify;          /* write nothing; compile, and compare with this module; of
                                    `output` only the file name is used. NULL: no */
};

void rsrc_options_init(struct rsrc_options *options);

/* Returns an enum rsrc_exit. */
int rsrc_compile(const struct rsrc_options *options, FILE *messages);

/* Version of this library, "MAJOR.MINOR.PATCH". */
const char *rsrc_version(void);

#ifdef __cplusplus
}
#endif
#endif
