/* rsr.h - run language models that rsrc compiled.
 *
 * A model.so made by `rsrc` holds the weights, the code specialised to them and the runtime. This
 * header opens such a file and evaluates it. Link with -lrsr, or load the model yourself and pass
 * its one symbol to rsr_open_query().
 *
 *     rsr_error err = RSR_ERROR_INIT;
 *     rsr_model *model = NULL;
 *     rsr_engine *engine = NULL;
 *     rsr_sequence *seq = NULL;
 *     const char text[] = "In the beginning";
 *     if (rsr_open("model.so", NULL, &model, &err) != RSR_OK ||
 *         rsr_engine_create(model, NULL, &engine, &err) != RSR_OK ||
 *         rsr_sequence_create(engine, &seq, &err) != RSR_OK ||
 *         rsr_generate(engine, seq, text, strlen(text), NULL, on_text, NULL, NULL, &err) != RSR_OK)
 *         puts(err.message);
 *     rsr_sequence_destroy(seq);
 *     rsr_engine_destroy(engine);
 *     rsr_close(model);
 *
 * A model.so is code: load only what you trust.
 *
 * Rules that hold everywhere
 *   Ownership   the caller owns what *_create, *_fork and rsr_open return, and ends it with
 *               *_destroy or rsr_close. Both accept NULL. Strings and arrays inside info structs
 *               belong to the model.
 *   Order       an engine ends after its sequences and prefix caches, a model after its engines.
 *   Threads     a model is immutable and may be shared. An engine serves one call at a time, in the
 *               order in which calls come. A long rsr_eval lets waiting calls go first after every
 *               max_batch tokens. So a call waits for at most one such part of every other caller.
 *               Calls that read info or statistics, and those that end or truncate a sequence,
 *               never wait. A sequence belongs to one thread at a time.
 *   Stack       a call needs up to 256 KiB.
 *   Errors      functions return a status. `err` may be NULL; otherwise it receives one sentence on
 *               failure and stays unchanged on success. On failure no out-parameter changes unless
 *               the function says so. After fork() the child may only end the objects that it
 *               inherited; every other call on them returns RSR_ERR_FORK.
 *   Options     structs begin with their size; initialise with the *_INIT macro. NULL means the
 *               defaults. An option that the model's runtime is too old to know is refused, not
 *               ignored.
 *   Ages        a module brings its own runtime: this library opens modules that an older or a
 *               newer rsrc made, from the first one with ABI 9 on. A module's runtime may be too
 *               old to have a function: the call then fails with RSR_ERR_ABI. It leaves those
 *               members of an info struct unchanged that it does not know. A struct that the
 *               library hands out (rsr_generated, rsr_probe_point, rsr_model_info.sampling) has
 *               only the members within its size_bytes.
 *   Callbacks   must return: no longjmp, no exception. They may call this library, also with the
 *               engine that called them.
 *   Silence     the library never prints, exits, or reads the environment.
 *   Exactness   a token's logits depend on the tokens before it in its sequence and on nothing
 *               else: not on batch, threads, or how the prompt was cut.
 */
#ifndef RSR_H
#define RSR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this header. rsr_version() gives the version of the library in use. The soname of the
 * shared library contains MAJOR. */
#define RSR_VERSION_MAJOR 0
#define RSR_VERSION_MINOR 1
#define RSR_VERSION_PATCH 0

#if defined(__GNUC__)
#define RSR_EXPORT __attribute__((visibility("default")))
#define RSR_NODISCARD __attribute__((warn_unused_result))
#else
#define RSR_EXPORT
#define RSR_NODISCARD
#endif

/* For RSR_..._INIT: the size, then zeros. C++ has no designated initialisers before C++20. */
#ifdef __cplusplus
extern "C++" {
template <typename T> inline T rsr_sized() {
    T zeros = {};
    zeros.size_bytes = sizeof(T);
    return zeros;
}
}
#define RSR_SIZED(type) rsr_sized<type>()
#else
#define RSR_SIZED(type)                                                                            \
    { .size_bytes = sizeof(type) }
#endif

typedef struct rsr_model rsr_model;
typedef struct rsr_engine rsr_engine;
typedef struct rsr_sequence rsr_sequence;

typedef enum rsr_status {
    RSR_OK = 0,
    RSR_ERR_ARGUMENT, /* a parameter is out of range, or an object does not fit the call */
    RSR_ERR_MEMORY,
    RSR_ERR_FILE,    /* a file cannot be read or written, or is not one of ours */
    RSR_ERR_ABI,     /* module and library do not understand each other */
    RSR_ERR_CPU,     /* the host lacks CPU features that every target of the module needs */
    RSR_ERR_FULL,    /* no free KV page, or the context is exhausted */
    RSR_ERR_NUMERIC, /* NaN or infinity where a number is needed */
    RSR_ERR_TEXT,    /* a chat template or token that cannot be rendered; no tokenizer */
    RSR_ERR_STOPPED, /* rsr_eval ended early: by rsr_cancel_request, or its progress callback */
    RSR_ERR_FORK,    /* the object was created in another process */
    RSR_ERR_RANK,    /* another rank failed, cannot be reached, or has another model or options */
    RSR_ERR_DEVICE   /* the GPU or its driver is not there, cannot run the model, or has failed. An
                        engine whose GPU failed returns it from then on */
} rsr_status;

typedef struct rsr_error {
    uint32_t size_bytes;
    rsr_status status;
    char message[496]; /* one sentence, UTF-8, no newline */
} rsr_error;
#define RSR_ERROR_INIT RSR_SIZED(rsr_error)

/* ---- Model ----------------------------------------------------------------------------------- */

struct rsr_sampling;

typedef enum rsr_pages {
    RSR_PAGES_AUTO, /* ask for huge pages on the mapping */
    RSR_PAGES_COPY, /* copy the weights to anonymous huge pages (costs their size in memory) */
    RSR_PAGES_PLAIN /* neither */
} rsr_pages;

/* Bits of rsr_open_options.flags. */
enum rsr_open_flag {
    RSR_OPEN_VERIFY = 1 /* read the whole file first and refuse it if it has changed, as
                           rsr_verify() does */
};

typedef struct rsr_open_options {
    uint32_t size_bytes;
    const char *target; /* force this target of the module; NULL: the best the host can run */
    rsr_pages pages;
    uint64_t flags; /* enum rsr_open_flag */
} rsr_open_options;
#define RSR_OPEN_OPTIONS_INIT                                                                      \
    { sizeof(rsr_open_options), NULL, RSR_PAGES_AUTO, 0 }

/* The file stays mapped until its last model is closed. To replace the file, rename a new one to
 * its name; the next rsr_open opens the new one. A file without rsrc's note is refused before it is
 * loaded, so nothing in it runs. A statically linked program cannot load files: rsr_open returns
 * RSR_ERR_FILE there, and rsr_open_query takes its place. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_open(const char *path, const rsr_open_options *options,
                                             rsr_model **model, rsr_error *err);

/* A part of a module's file. Weights are named by what they are ("embedding"), other parts by their
 * ELF section (".text"). */
typedef struct rsr_section {
    uint32_t size_bytes;
    const char *name;
    uint64_t begin, end; /* bytes of the file */
    bool intact;
} rsr_section;
typedef void rsr_section_fn(void *user, const rsr_section *section);

/* Compares a module's file, section by section, with the hashes that rsrc put into it. Loads
 * nothing. The sections cover the whole file. RSR_ERR_FILE: a section has changed (the message
 * names the first one), or the file was cut or has grown. `found` may be NULL. The hashes find
 * damage by disks, memory and copies. They do not protect against somebody who changes both the
 * bytes and the hashes. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_verify(const char *path, rsr_section_fn *found, void *user,
                                               rsr_error *err);

/* Opens a module that the application has loaded or linked itself; no file is read. `query` is the
 * module's rsr_module_query. To link a model into a program (a static one, too), use the object of
 * `rsrc --emit=obj` and librsr_module.a: see examples/embed-c/README.md. */
struct rsr_module;
struct rsr_host;
RSR_EXPORT RSR_NODISCARD rsr_status
rsr_open_query(const struct rsr_module *(*query)(uint32_t, const struct rsr_host *),
               const rsr_open_options *options, rsr_model **model, rsr_error *err);

/* Call it after the model's engines and detokenizers have ended. If no other model of the file is
 * open, it unmaps the file: strings in info structs and profiles are then invalid. In a child after
 * fork() the file stays mapped. An older module may have taken its threads from an OpenMP library,
 * which stays loaded. */
RSR_EXPORT void rsr_close(rsr_model *model);

typedef struct rsr_model_info {
    uint32_t size_bytes;
    const char *name; /* untrusted text from the checkpoint */
    const char *architecture;
    const char *target;         /* in use */
    const char *const *targets; /* all of the module */
    uint32_t n_targets;
    uint32_t hidden, n_layers, n_heads, n_kv_heads, head_dim, ffn, vocab, context;
    uint32_t bos_token, eos_token; /* UINT32_MAX: none */
    const uint32_t *stop_tokens;
    uint32_t n_stop_tokens;
    bool has_tokenizer, has_chat_template;
    uint64_t weight_bytes; /* of the target in use: codes, index, dense layers, embedding, head and
                              the head's sketch */
    uint64_t token_bytes;  /* the part of weight_bytes that one decode step reads. Layers that
                              compute only listed rows or columns (--calibrate) count whole, so
                              they may read less. A head with a sketch counts as the sketch's first
                              plane; the head's rows that a pick then reads are not included */
    uint8_t model_hash[16];
    const char *compiler_version;
    const char *pages;     /* the memory pages of the weights: "huge", "plain" or "copied", and
                              why */
    const char *pooling;   /* an embedding model's: "last", "first" or "mean"; NULL: a language
                              model */
    uint32_t output_size;  /* floats of an entry with want_logits: vocab; of an embedding model,
                              hidden */
    uint64_t logits_bytes; /* what a step that gives logits reads in addition to token_bytes */
    const char *float_operations; /* of the runtime itself: "generic", "avx2" or "avx512", the best
                                     for this CPU, whatever the target. The results have the same
                                     bits with each of them */
    const struct rsr_sampling *sampling; /* how the checkpoint wants tokens to be sampled, for
                                            rsr_generate_options; NULL: it does not say */
    const char *chat_problem;  /* why the chat template cannot render a conversation: a sentence
                                  with the line and its text; NULL: it can, or there is no
                                  template */
    uint64_t text_bytes;       /* the longest text that one token stands for, where special tokens
                                  are not parsed: a text of more than n * text_bytes bytes has more
                                  than n tokens. 0: no bound is known, because a tokenizer may skip
                                  text of any length */
    uint64_t kv_token_bytes;   /* bytes of keys and values for one token, in an engine without
                                  options */
    uint32_t kv_page_tokens;   /* tokens of a page; sequences take memory in whole pages */
    const char *chat_template; /* Jinja source, untrusted text from the checkpoint; NULL: there is
                                  none */
    bool is_hollow; /* `rsrc --hollow`: a device fills the weights at random. Times are those of the
                       whole model, and what it says is noise */
    uint32_t shard, n_shards; /* `rsrc --shard=I/N`: the rows of rank `shard` of n_shards; n_shards
                                 0: the module is whole */
    uint64_t usual_token_bytes; /* what a decode step that picks the likeliest token usually reads,
                                   as the compiler predicted: of listed rows and columns a part, and
                                   of the head what its sketch leaves open */
} rsr_model_info;
#define RSR_MODEL_INFO_INIT RSR_SIZED(rsr_model_info)

RSR_EXPORT RSR_NODISCARD rsr_status rsr_model_get_info(const rsr_model *model,
                                                       rsr_model_info *info);

/* One emitted kernel, for reports. Indices count up from 0 until the call returns
 * RSR_ERR_ARGUMENT. */
typedef struct rsr_kernel_info {
    uint32_t size_bytes;
    const char *name, *variant, *reason, *role;
    uint32_t block, rows, cols; /* block UINT32_MAX: none */
    uint64_t weight_bytes;
    uint64_t token_bytes; /* what one token usually reads of them, as the compiler predicted: less
                             than all where only listed rows or columns are read (--calibrate) */
} rsr_kernel_info;
#define RSR_KERNEL_INFO_INIT RSR_SIZED(rsr_kernel_info)

RSR_EXPORT RSR_NODISCARD rsr_status rsr_model_get_kernel(const rsr_model *model, uint32_t index,
                                                         rsr_kernel_info *info);

/* What a GPU's driver loads: its machine code, or PTX, which the driver compiles for this GPU and
 * all later ones. Indices count up from 0 until the call returns RSR_ERR_ARGUMENT; the images of a
 * GPU follow one another, preferred ones first. Strings are valid until rsr_close. */
typedef struct rsr_image_info {
    uint32_t size_bytes;
    const char *target; /* the module's name of the GPU: "sm_90" */
    const char *kind;   /* "cubin" or "PTX" */
    uint32_t sm;        /* compute capability without its dot: 90 */
    uint64_t image_bytes;
} rsr_image_info;
#define RSR_IMAGE_INFO_INIT RSR_SIZED(rsr_image_info)

RSR_EXPORT RSR_NODISCARD rsr_status rsr_model_get_image(const rsr_model *model, uint32_t index,
                                                        rsr_image_info *info);

/* ---- Text ------------------------------------------------------------------------------------ */

enum {
    RSR_TOKENIZE_ADD_SPECIAL = 1,   /* add what the tokenizer puts around a text (BOS) */
    RSR_TOKENIZE_PARSE_SPECIAL = 2, /* "<|eot_id|>" in the text becomes the special token, not
                                       letters */
    RSR_TOKENIZE_CONTINUES = 4      /* the text continues another one: neither BOS nor the space
                                       with which many tokenizers begin a text is put in front of
                                       it */
};

/* Converts a text of less than 2 GiB to tokens. Invalid UTF-8 is replaced by U+FFFD first, as
 * Python's errors='replace' does. *n_tokens receives the count. If the count exceeds `capacity`,
 * `tokens` holds the first `capacity` tokens and the status is RSR_ERR_FULL. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_tokenize(const rsr_model *model, const char *text,
                                                 size_t text_bytes, uint32_t flags,
                                                 uint32_t *tokens, size_t capacity,
                                                 size_t *n_tokens, rsr_error *err);

/* Converts tokens to text. Invalid UTF-8 in the result is replaced by U+FFFD. Writes at most
 * `capacity` bytes and no terminator. *text_bytes receives the full length; if the length exceeds
 * `capacity`, the status is RSR_ERR_FULL. skip_special drops special tokens. Many tokenizers put a
 * space in front of every text, and this function drops it again: so detokenise a text as a whole,
 * or use an rsr_detokenizer. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_detokenize(const rsr_model *model, const uint32_t *tokens,
                                                   size_t n_tokens, bool skip_special, char *text,
                                                   size_t capacity, size_t *text_bytes,
                                                   rsr_error *err);

/* Converts tokens to text as they come. The bytes of a character may lie in several tokens: its
 * text comes when the character is complete. All pieces together are the text that rsr_detokenize
 * makes of all tokens. */
typedef struct rsr_detokenizer rsr_detokenizer;
enum {
    RSR_DETOKENIZE_SKIP_SPECIAL = 1,
    RSR_DETOKENIZE_CONTINUES = 2 /* the text continues another one: its first space is kept */
};
RSR_EXPORT RSR_NODISCARD rsr_status rsr_detokenizer_create(const rsr_model *model, uint32_t flags,
                                                           rsr_detokenizer **detokenizer,
                                                           rsr_error *err);
RSR_EXPORT void rsr_detokenizer_destroy(rsr_detokenizer *detokenizer);
/* *text receives *text_bytes bytes of valid UTF-8 (often none), without a terminator; it lives
 * until the next call. rsr_detokenizer_finish gives the bytes that were held back, with U+FFFD for
 * those that are no UTF-8. After it a new text begins, with the same flags. A detokenizer belongs
 * to one thread at a time. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_detokenizer_push(rsr_detokenizer *detokenizer,
                                                         uint32_t token, const char **text,
                                                         size_t *text_bytes, rsr_error *err);
RSR_EXPORT RSR_NODISCARD rsr_status rsr_detokenizer_finish(rsr_detokenizer *detokenizer,
                                                           const char **text, size_t *text_bytes,
                                                           rsr_error *err);

typedef struct rsr_token_info {
    uint32_t size_bytes;
    bool is_special; /* left out of text by skip_special */
    bool is_stop;    /* one of rsr_model_info.stop_tokens */
    bool is_byte;    /* stands for a byte that no other token has ("<0x0A>") */
} rsr_token_info;
#define RSR_TOKEN_INFO_INIT RSR_SIZED(rsr_token_info)

/* The bytes that a token adds to a text after other tokens. They need not be valid UTF-8, because a
 * character may lie in several tokens. An id without text has no bytes. Buffer rules as for
 * rsr_detokenize; info may be NULL. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_model_get_token(const rsr_model *model, uint32_t token,
                                                        char *bytes, size_t capacity,
                                                        size_t *n_bytes, rsr_token_info *info,
                                                        rsr_error *err);

typedef struct rsr_message {
    const char *role;    /* "system", "user", "assistant" */
    const char *content; /* NUL-terminated UTF-8 */
} rsr_message;

/* Renders messages with the model's chat template. Buffer rules as for rsr_detokenize. The text
 * does not mark the parts that a user wrote: with RSR_TOKENIZE_PARSE_SPECIAL, a user's "<|eot_id|>"
 * ends the turn. rsr_chat_tokens does not have this problem. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_chat_format(const rsr_model *model,
                                                    const rsr_message *messages, size_t n_messages,
                                                    bool add_generation_prompt, char *text,
                                                    size_t capacity, size_t *text_bytes,
                                                    rsr_error *err);

/* Renders a conversation with the model's chat template, as tokens. `conversation` is JSON: the
 * array of messages, or {"messages": [...], "tools": [...], "enable_thinking": false, ...}. The
 * keys of such an object are variables of the template, like the arguments of Hugging Face's
 * apply_chat_template. A message may have any fields ("role", "content", "tool_calls",
 * "reasoning_content", ...).
 *
 * No string of the conversation becomes a special token or a part of one: it is plain text wherever
 * the template puts it. The only exception is a "role" of system, developer, user, assistant,
 * model, tool, function or ipython. Added tokens that are not special are recognised in strings. If
 * the model has a BOS, the tokens begin with it, once, even if the template writes none.
 *
 * Buffer rules as for rsr_tokenize. RSR_ERR_ARGUMENT: the JSON is malformed, has a key twice, has a
 * number that is neither an int64 nor a finite double, or has more than 64 MiB, 48 levels, 512 keys
 * in an object or 2^19 values. RSR_ERR_TEXT: the template cannot render the conversation. Invalid
 * UTF-8 is replaced as in rsr_tokenize. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_chat_tokens(const rsr_model *model,
                                                    const char *conversation,
                                                    size_t conversation_bytes,
                                                    bool add_generation_prompt, uint32_t *tokens,
                                                    size_t capacity, size_t *n_tokens,
                                                    rsr_error *err);

/* Renders such a conversation as text, the one that apply_chat_template gives with tokenize=False.
 * Buffer rules as for rsr_detokenize. The text does not mark the parts that a user wrote, as with
 * rsr_chat_format. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_chat_format_json(
    const rsr_model *model, const char *conversation, size_t conversation_bytes,
    bool add_generation_prompt, char *text, size_t capacity, size_t *text_bytes, rsr_error *err);

/* ---- Engine ---------------------------------------------------------------------------------- */

typedef enum rsr_probe_kind {
    RSR_PROBE_LINEAR_INPUT,
    RSR_PROBE_LINEAR_OUTPUT,
    RSR_PROBE_NORM_OUTPUT,
    RSR_PROBE_ATTENTION_INPUT,
    RSR_PROBE_ATTENTION_OUTPUT,
    RSR_PROBE_LOGITS_INPUT,
    RSR_PROBE_KEYS /* before ATTENTION_INPUT: keys as they were stored, before they are rounded. To
                      change them changes nothing. Of tokens that are evaluated again for a
                      recurrent state, keys before their norm and rotation */
} rsr_probe_kind;

/* What a probe sees. The probe may change `data` in place. It is called between barriers, on one
 * thread, while its engine is busy: it must not call the engine or the engine's sequences. */
typedef struct rsr_probe_point {
    uint32_t size_bytes;
    rsr_probe_kind kind;
    uint32_t block;   /* UINT32_MAX: none */
    const char *role; /* of a linear layer "q", "gate", ...; a norm's name; else "" */
    void *data;       /* LINEAR_INPUT of a layer that multiplies int8: activation rows (rsr_abi.h);
                         else float rows */
    size_t row_bytes; /* from one row to the next */
    uint32_t cols;    /* elements of a row */
    uint32_t n_tokens;
    const uint32_t *positions;
    bool has_int8_rows;   /* data has activation rows */
    bool has_dense_layer; /* the linear layer's or the head's weights are floats, neither ternary
                             nor binary */
    uint8_t reserved[6];
} rsr_probe_point;
typedef void rsr_probe_fn(void *user, const rsr_probe_point *point);

/* How ranks reach each other. Ranks are processes, also of several machines, that evaluate one
 * model together: each computes a part of every matrix's rows and of the KV heads, or some of the
 * layers (rsr_engine_options.pipeline), and keeps only the weights, keys and values of its part in
 * memory. Logits and tokens have the bits that one process gives, because every sum is computed
 * whole, by one rank.
 *
 * Every rank opens the same file and creates an engine with equal options, but for its own number
 * here. Rank 0 then uses its engine as any other; the others call rsr_engine_follow(). The
 * functions are called by one thread at a time, by all ranks in the same order. Each returns when
 * this rank's part of the exchange is done, or fails (RSR_ERR_RANK, with a sentence that names the
 * rank that cannot be reached); after a failure the engine refuses every evaluation. The struct is
 * copied; `user` must outlive the engine. runtime/mpi has a transport over MPI. */
typedef rsr_status rsr_allgatherv_fn(void *user, const void *part, void *all, const size_t *bytes,
                                     rsr_error *err);
typedef rsr_status rsr_bcast_fn(void *user, void *data, size_t n_bytes, uint32_t root,
                                rsr_error *err);
typedef rsr_status rsr_rank_barrier_fn(void *user, rsr_error *err);
typedef struct rsr_transport {
    uint32_t size_bytes;
    uint32_t rank, size;           /* this rank's number, below the number of ranks */
    rsr_allgatherv_fn *allgatherv; /* gives every rank the parts of all, one after another: that of
                                      rank r has bytes[r] bytes. `part` and `all` do not overlap */
    rsr_bcast_fn *bcast;           /* copies the root's data to all ranks */
    rsr_rank_barrier_fn *barrier;  /* returns when all ranks have called it */
    void *user;
} rsr_transport;
#define RSR_TRANSPORT_INIT RSR_SIZED(rsr_transport)

typedef struct rsr_engine_options {
    uint32_t size_bytes;
    uint32_t n_threads;  /* at most, the calling thread included. 0: one for each core that this
                            process may use, by its CPU mask, OpenMP places and CPU quota */
    uint32_t context;    /* largest sequence; 0: the model's own */
    uint32_t kv_tokens;  /* tokens that the page pool holds, over all sequences; 0: `context`. A
                            pool larger than the memory of the machine or of the process's cgroup is
                            refused (RSR_ERR_MEMORY). If context is 0 as well, the pool is made as
                            large as the memory allows instead */
    uint32_t max_batch;  /* tokens that are evaluated together; 0: 128 */
    bool pin_threads;    /* bind the engine's own threads to CPUs, one each; the calling thread
                            stays as it is */
    rsr_probe_fn *probe; /* for tests and traces; NULL: none. A device runs every operation by
                            itself then, and its rows are copied to the host and back */
    void *probe_user;
    const char *attention; /* "dense", or through the KV index of rsr_louver.h:
                              "louver[:THRESHOLD][,min=KEYS][,sinks=N][,window=N]". THRESHOLD is one
                              of the index's rules, such as "topk:20"; without it mass:1e-3. Tokens
                              that see fewer than KEYS keys get dense attention. The default of KEYS
                              is where dense attention was measured to be slower: 8,192; 128 K for
                              topk:K; for budget:F above 1/128 all tokens get dense attention. NULL:
                              dense */
    const char *kv_type;   /* how keys and values are stored: "f32", "bf16", "f16" (rounded to
                              nearest; finite numbers beyond the type's become its largest) or
                              "int8" (with a scale a row). Attention is computed over the stored
                              numbers, with the bits that they would give in f32. NULL or "": bf16
                              on every host and target; f32 for an embedding model */
    uint32_t max_stall_ms; /* evaluate only as many tokens together as take about this long
                              (estimated from earlier ones), but at least 8. Other calls then wait
                              less, and prompts take longer. 0: only max_batch limits them. Results
                              do not depend on it */
    bool kv_commit;        /* commit the pool's memory when the engine is created; a pool that does
                              not fit is then refused (RSR_ERR_MEMORY). Without it pages are
                              committed as they are used, and if memory runs out later, the kernel
                              ends the process */
    uint8_t reserved[3];   /* 0, as the other reserved bytes. They end the struct that an older
                              runtime knows: it refuses options that are set beyond it */
    bool all_threads;      /* every step uses n_threads, even where fewer were measured to be
                              faster; a probe implies it */
    uint8_t reserved_too[7];
    const char *state_type; /* how the recurrent states of a model that has some are stored: "f32",
                               or "bf16", in about half the memory: every token rounds the state
                               that it leaves to nearest. NULL or "": f32. Refused for a model
                               without recurrent states (RSR_ERR_ARGUMENT) */
    const rsr_transport *transport; /* NULL: this process alone. With several ranks, models with
                                       recurrent layers, the KV index, probes, saved sequences and
                                       rsr_sequence_read_kv() are refused */
    const char *device; /* what computes: "cpu", or "cuda:N" for NVIDIA's GPU number N, from 0 on.
                           Nothing falls back to the CPU: what the device cannot do is refused
                           (RSR_ERR_DEVICE). The driver, libcuda.so.1, is all that it needs.
                           Ways to launch, with the same results: "cuda:N,plain" launches a kernel
                           for every operation by itself in place of graphs, so that a failure names
                           one; "cuda:N,graph" has no launches that begin before the one before has
                           ended. NULL or "": cpu */
    bool pipeline;      /* the transport's ranks share out layers in place of rows and heads, as
                           evenly as it goes: each passes the activations of a step's tokens on
                           to the next one. Rank 0 has the embedding, the last rank the head, and
                           for it fewer layers. More ranks than layers are refused
                           (RSR_ERR_ARGUMENT). A step is no faster than in one process: a rank is
                           busy for its own part of it. But a rank computes for one engine of a
                           model while its other engines wait for other ranks. So several engines
                           of one model, with a transport each and each in a thread of its own,
                           keep all ranks busy */
    uint8_t reserved_last[7];
    const char *kv_dir; /* a folder: keys and values lie in a file there in place of memory, for
                           contexts that memory does not hold. The file has no name and the mode
                           0600, and ends with the engine. Of its bytes at most an eighth of the
                           memory that the process may have is mapped at a time, beyond pages that
                           are being filled; the system keeps more of them in memory while that is
                           free. With "louver" the sketches stay in memory: of full pages only rows
                           that they cannot drop are read, and asked for ahead of their use. Dense
                           attention reads all. Results are the same as without. The file grows by
                           pages: if its disk is full, the batch that needs another page fails with
                           RSR_ERR_FULL, and no sequence changes. A pool larger than what is free on
                           the disk is refused (RSR_ERR_FILE), or made smaller where memory would
                           make it so; kv_commit takes all of the file at once. If the disk cannot
                           be read later, the kernel ends the process. Refused with another device
                           than the CPU, and with a transport of several ranks. NULL or "": none */
} rsr_engine_options;
#define RSR_ENGINE_OPTIONS_INIT RSR_SIZED(rsr_engine_options)

RSR_EXPORT RSR_NODISCARD rsr_status rsr_engine_create(rsr_model *model,
                                                      const rsr_engine_options *options,
                                                      rsr_engine **engine, rsr_error *err);
/* Ending the engine of rank 0 ends rsr_engine_follow() of the other ranks. */
RSR_EXPORT void rsr_engine_destroy(rsr_engine *engine);

/* Computes this rank's part of what rank 0 evaluates, until rank 0 ends its engine. For an engine
 * whose transport has a rank above 0. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_engine_follow(rsr_engine *engine, rsr_error *err);

/* What a rank did in the steps since the engine was created, as rank 0 knows it. A step is a
 * sequence of parts that all ranks compute, with a gather after each; in a pipeline each part is
 * computed by one rank. */
typedef struct rsr_rank_info {
    uint32_t size_bytes;
    uint32_t n_ranks;
    uint32_t first_kv_head, n_kv_heads; /* its part of each layer's attention */
    uint64_t n_gathers;
    uint64_t gathered_bytes; /* what all ranks together sent */
    uint64_t compute_ns;     /* this rank's time between gathers; in a pipeline, for its layers */
    uint64_t step_ns;        /* rank 0's time, waiting and gathers included */
    uint32_t first_layer, n_layers; /* those that it computes, alone or its part of */
} rsr_rank_info;
#define RSR_RANK_INFO_INIT RSR_SIZED(rsr_rank_info)
/* RSR_ERR_ARGUMENT: there is no such rank; an engine without a transport has none. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_engine_get_rank(const rsr_engine *engine, uint32_t rank,
                                                        rsr_rank_info *info);

typedef struct rsr_engine_info {
    uint32_t size_bytes;
    uint32_t n_threads, context, kv_tokens, max_batch;
    uint32_t kv_tokens_free; /* whole pages, in tokens; pages that only prefix caches hold are
                                included */
    uint64_t kv_bytes, arena_bytes;
    const char *kv_type;     /* "f32", "bf16", "f16", "int8" */
    uint64_t kv_token_bytes; /* the part of kv_bytes that one token takes */
    uint32_t kv_page_tokens; /* tokens of a page: a sequence of n tokens has n / kv_page_tokens
                                pages, rounded up, and shares the full ones with its forks */
    uint32_t reserved;       /* an older runtime writes the members up to here */
    uint32_t n_step_threads; /* threads that a step of one token uses now. It is less than n_threads
                                where fewer threads were measured to be faster, because the model is
                                small or other programs use the CPUs. Now and then the engine tries
                                another number for some 20 ms. Steps of 16 tokens and more use all
                                threads. Results do not depend on it */
    uint32_t n_states;    /* recurrent states of a model that has some; 0: it has none. A sequence
                                has up to two, and takes another one while a batch extends it */
    uint64_t state_bytes; /* of one state, whatever the sequence's length */
    uint32_t n_states_free;
    uint32_t reserved_too;
    const char *state_type; /* "f32" or "bf16"; NULL: the model has no recurrent states */
} rsr_engine_info;
#define RSR_ENGINE_INFO_INIT RSR_SIZED(rsr_engine_info)
RSR_EXPORT RSR_NODISCARD rsr_status rsr_engine_get_info(const rsr_engine *engine,
                                                        rsr_engine_info *info);

/* Time spent by operation, for `rsr-bench model --profile`. Reports what was collected since the
 * last call, resets it, and collects from now on if `enable` is true. A computation that is running
 * counts when it is done, as in the statistics below. Collecting is off at first; it costs three
 * clock reads per operation. entries may be NULL to drop the report. *n_entries (may be NULL)
 * receives the count. If the count exceeds `capacity`, the status is RSR_ERR_FULL and nothing is
 * reset. */
typedef struct rsr_profile_entry {
    uint32_t size_bytes; /* every entry has the size that the first one states */
    const char *name;    /* "q", "gate", "attention", "head", ... */
    uint64_t time_ns;    /* until the last worker is done, the barrier included; the sum over all
                            entries is the time of the steps */
    uint64_t wait_ns;    /* idle time at the barrier, mean of the workers */
    uint64_t calls;
    uint64_t bytes; /* memory traffic of the calls: weights and their scales, norms, rows of the
                       embedding, keys and values. Intermediate results stay in the caches and are
                       not counted */
} rsr_profile_entry;
#define RSR_PROFILE_ENTRY_INIT RSR_SIZED(rsr_profile_entry)
RSR_EXPORT RSR_NODISCARD rsr_status rsr_engine_profile(rsr_engine *engine, bool enable,
                                                       rsr_profile_entry *entries, size_t capacity,
                                                       size_t *n_entries);

/* What attention read and left out since the engine was created or the last reset. With "dense",
 * only `name` says something.
 *
 * max_error and max_storage_error bound single operations, the output of one head: its difference
 * from dense attention over the stored keys and values (float32 rounding aside), and the difference
 * that storing made to dense attention. Later layers compute with these outputs, so the bounds say
 * nothing about logits. Dense attention certifies no storage error.
 *
 * What is left out does not depend on n_threads. What is read may: with topk and budget each thread
 * finds the best keys of its own pages. */
typedef struct rsr_attention_stats {
    uint32_t size_bytes;
    uint32_t min_keys;             /* tokens that see fewer keys get dense attention; UINT32_MAX:
                                      all tokens */
    const char *name;              /* "dense", "louver" */
    uint64_t dense, indexed;       /* triples (token, layer, KV head) computed without the index and
                                      with it */
    uint64_t keys;                 /* keys that the indexed triples see. The next three count those
                                      of which some query head read */
    uint64_t scanned;              /* the first plane, */
    uint64_t plane2;               /* the second plane, */
    uint64_t exact;                /* key and value */
    uint64_t pages, pages_skipped; /* full ones; skipped: only their bounds were read */
    double max_mass;               /* largest part of a softmax that was left out, at most this */
    double max_error;              /* largest certified_error (rsr_louver.h) */
    double max_storage_error;      /* largest storage_error (rsr_louver.h) */
    double max_relative_error;     /* error:EPS: largest certified_error / spread (rsr_louver.h), 0
                                      for other rules */
    uint64_t flat;                 /* triples of `dense` that had no index for one reason: their
                                      logits are so even that it would read nearly all keys, as a
                                      calibration measured (rsrc --calibrate) */
} rsr_attention_stats;
#define RSR_ATTENTION_STATS_INIT RSR_SIZED(rsr_attention_stats)
RSR_EXPORT RSR_NODISCARD rsr_status rsr_engine_attention_stats(rsr_engine *engine, bool reset,
                                                               rsr_attention_stats *stats);

/* How tokens were picked (rsr_batch.picks) since the engine was created or the last reset.
 * `sketched` counts picks that read only a part of the head: by its sketch, or by the rows of a
 * short allowed set. `full` counts picks that read all of the head. The other counters are of the
 * sketched picks. */
typedef struct rsr_head_stats {
    uint32_t size_bytes;
    uint32_t n_planes;       /* of the head's sketch; 0: the head has none */
    uint64_t sketched, full; /* picks */
    uint64_t scanned;        /* rows read of the sketch's first plane */
    uint64_t plane2;         /* rows read of its second plane */
    uint64_t exact;          /* rows read of the head itself; a device does not count them */
} rsr_head_stats;
#define RSR_HEAD_STATS_INIT RSR_SIZED(rsr_head_stats)
RSR_EXPORT RSR_NODISCARD rsr_status rsr_engine_head_stats(rsr_engine *engine, bool reset,
                                                          rsr_head_stats *stats);

/* ---- Sequences ------------------------------------------------------------------------------- */

RSR_EXPORT RSR_NODISCARD rsr_status rsr_sequence_create(rsr_engine *engine, rsr_sequence **sequence,
                                                        rsr_error *err);
/* When a sequence ends or is truncated, memory of pages that no other sequence has goes back to the
 * system. One free page keeps its memory. With kv_commit all pages keep theirs. */
RSR_EXPORT void rsr_sequence_destroy(rsr_sequence *sequence);
RSR_EXPORT uint32_t rsr_sequence_length(const rsr_sequence *sequence);
/* Its rsr_sequence_length() tokens; they are valid until a call changes the sequence. NULL if the
 * sequence is NULL. */
RSR_EXPORT const uint32_t *rsr_sequence_tokens(const rsr_sequence *sequence);

/* Forgets every token from position `length` on. If the model has recurrent layers, the next batch
 * of the sequence evaluates tokens before `length` again: those of its last batch, or all. A fork,
 * made where a caller will want to go on, keeps the state of that length, and spares this. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_sequence_truncate(rsr_sequence *sequence, uint32_t length,
                                                          rsr_error *err);
/* A new sequence with the same content; full pages are shared, the open one is copied. A batch with
 * several sequences that share pages reads these once for up to 16 tokens (dense attention); logits
 * have the bits that they have apart. Recurrent states are shared; none is copied. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_sequence_fork(rsr_sequence *sequence, rsr_sequence **fork,
                                                      rsr_error *err);

/* Writes tokens, keys and values to a file, so that another process can continue the sequence. The
 * file gets its name only when all of it is on the disk: after a failure an older file of this name
 * is unchanged, and no other file is left. Only its owner can read it, because it holds the text.
 * RSR_ERR_FILE: the file cannot be written. A recurrent state is saved, too; but none if the
 * sequence was truncated before its last batch: the loaded sequence then evaluates its tokens again
 * in its next batch. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_sequence_save(rsr_sequence *sequence, const char *path,
                                                      rsr_error *err);
/* A new sequence with the content of such a file. Later results have the bits that they would have
 * had after the sequence that was saved. Everything is checked before it is used. RSR_ERR_FILE: the
 * file has changed, or it is of another model, of another version of rsrc, of an engine with
 * another kv_type or attention, or (for a model with float activations) of other kernels. The
 * message says which. The hashes in the file find accidents; somebody who changes data and hashes
 * gets wrong numbers and nothing worse. RSR_ERR_FULL: the tokens do not fit into the engine's
 * context or its free KV pages. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_sequence_load(rsr_engine *engine, const char *path,
                                                      rsr_sequence **sequence, rsr_error *err);

/* The stored key and value of the token at `position` in a layer, for traces:
 * [n_kv_heads][head_dim] floats each, as attention reads them. A recurrent layer has none. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_sequence_read_kv(rsr_sequence *sequence, uint32_t position,
                                                         uint32_t layer, float *keys, float *values,
                                                         rsr_error *err);

/* ---- Prefix cache ---------------------------------------------------------------------------- */

/* A cache keeps keys and values of evaluated tokens, so that a prompt that begins with the same
 * tokens need not evaluate them again. Call rsr_prefix_cache_take() in place of
 * rsr_sequence_create(), and rsr_prefix_cache_put() when a prompt or an answer is done. Logits have
 * the same bits with a cache and without one.
 *
 * The cache is a tree of KV pages, keyed by their tokens. A page that several sequences share is
 * kept once, and keeping it copies nothing. The least recently used page is forgotten first, the
 * end of a text before its beginning. If a sequence needs a page and none is free, a cache gives
 * one up: cached pages never make a call fail.
 *
 * If the model has recurrent layers, a text goes on only where a cache keeps their state: where a
 * batch of a sequence had ended when the sequence was put. So put a sequence after every batch of
 * its prompt. States are kept and given up as pages are.
 *
 * Threads: any thread may call at any time. Calls are short and wait for no evaluation. An engine
 * may have several caches; end them before it. */
typedef struct rsr_prefix_cache rsr_prefix_cache;

typedef struct rsr_prefix_cache_options {
    uint32_t size_bytes;
    uint64_t budget_bytes; /* for the keys, values and recurrent states that are kept, in whole
                              pages; what sequences also use counts. 0: as much as all of the
                              engine's pages take. Less than one page is refused
                              (RSR_ERR_ARGUMENT) */
} rsr_prefix_cache_options;
#define RSR_PREFIX_CACHE_OPTIONS_INIT RSR_SIZED(rsr_prefix_cache_options)

RSR_EXPORT RSR_NODISCARD rsr_status rsr_prefix_cache_create(rsr_engine *engine,
                                                            const rsr_prefix_cache_options *options,
                                                            rsr_prefix_cache **cache,
                                                            rsr_error *err);
/* Sequences that were taken from the cache live on. */
RSR_EXPORT void rsr_prefix_cache_destroy(rsr_prefix_cache *cache);

/* A new sequence with the longest cached prefix of `tokens`. The last token is never included,
 * because the caller needs its logits. rsr_sequence_length() says how many tokens the prefix has;
 * the caller evaluates the others. tokens may be NULL if n_tokens is 0. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_prefix_cache_take(rsr_prefix_cache *cache,
                                                          const uint32_t *tokens, size_t n_tokens,
                                                          rsr_sequence **sequence, rsr_error *err);

/* Keeps what the sequence holds; the sequence stays the caller's. If it is longer than the budget,
 * only its beginning is kept. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_prefix_cache_put(rsr_prefix_cache *cache,
                                                         rsr_sequence *sequence, rsr_error *err);

/* Forgets the least recently used pages until at most `bytes` are kept, and gives their memory back
 * to the system as rsr_sequence_destroy() does. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_prefix_cache_shrink(rsr_prefix_cache *cache, uint64_t bytes,
                                                            rsr_error *err);

typedef struct rsr_prefix_cache_info {
    uint32_t size_bytes;
    uint64_t budget_bytes;          /* whole pages */
    uint64_t bytes;                 /* kept now, at most budget_bytes */
    uint64_t takes, hits;           /* calls of take; those that found at least one token */
    uint64_t tokens, cached_tokens; /* tokens that takes asked for; those that they found */
    uint64_t evicted_pages;         /* forgotten to make room, yielded_pages included */
    uint64_t yielded_pages;
} rsr_prefix_cache_info;
#define RSR_PREFIX_CACHE_INFO_INIT RSR_SIZED(rsr_prefix_cache_info)
RSR_EXPORT RSR_NODISCARD rsr_status rsr_prefix_cache_get_info(const rsr_prefix_cache *cache,
                                                              rsr_prefix_cache_info *info);

/* ---- Evaluation ------------------------------------------------------------------------------ */

typedef struct rsr_batch_entry {
    rsr_sequence *sequence;
    uint32_t position; /* must be the sequence's next one, in batch order */
    uint32_t token;
    bool want_logits;
} rsr_batch_entry;

/* Asks for the token that follows an entry: the one that rsr_sample() gives for the entry's logits,
 * with the sequence's tokens up to and including the entry as history. A pick reads only a part of
 * the head in two cases:
 *   a sketch        the module has a sketch of the head (see rsr_head_stats.n_planes);
 *   a short set     `allowed` has at most an eighth of the vocabulary, and the head is dense.
 * A pick reads all of the head if
 *   - the entry also wants logits or log-probabilities;
 *   - repeat_penalty is below 1;
 *   - top_k, or the number of tokens whose logits penalties and biases raise, exceeds an eighth of
 *     the vocabulary;
 *   - top_p is set without top_k, and the sketch's bounds do not prove that the token is in the
 *     nucleus. This happens where many tokens share the probability.
 * The picked token is the same in every case; rsr_head_stats counts the picks of both kinds. */
typedef struct rsr_pick {
    size_t entry;
    const struct rsr_sampling *sampling; /* NULL: greedy */
} rsr_pick;

/* The log-probability of a token: the natural logarithm of its softmax probability, from the logits
 * as the head gives them. Options of rsr_sampling have no effect on it. */
typedef struct rsr_logprob {
    double logprob;
    uint32_t token;
    uint32_t rank; /* position in decreasing order of logits, equal ones by increasing id; 0 is the
                      likeliest token */
} rsr_logprob;

/* Asks for log-probabilities of the token that follows an entry. The whole head is read for them;
 * logits of at most 64 entries are kept at a time. The float operations have one order: w =
 * exp(logit - largest logit) in float32; sum j of 16 sums in double adds w of the tokens 16 i + j
 * by increasing i; the 16 sums are added in pairs 8, 4, 2 and 1 apart; the result is logit -
 * largest logit - log(sum) in double. */
#define RSR_MAX_TOP_LOGPROBS 1024
typedef struct rsr_logprobs {
    size_t entry;
    uint32_t token;       /* its result comes first; UINT32_MAX: the token that the batch picks for
                             this entry */
    uint32_t n_top;       /* number of the likeliest tokens that follow, at most the vocabulary */
    rsr_logprob *results; /* [1 + n_top] */
} rsr_logprobs;

/* Cancels the calls that received it. It may be static, or belong to a thread or a request, but it
 * must outlive the calls. Before it is used again, set it to RSR_CANCEL_INIT while no call has
 * it. */
typedef struct rsr_cancel {
    uint32_t requested; /* written by rsr_cancel_request alone */
} rsr_cancel;
#define RSR_CANCEL_INIT                                                                            \
    { 0 }

/* May be called from any thread and from signal handlers. The calls end at the next operation of a
 * step, a few ms later. */
RSR_EXPORT void rsr_cancel_request(rsr_cancel *cancel);

/* Called between two parts of a batch, on the thread that called rsr_eval. n_done entries are
 * evaluated but not yet in their sequences; the callback must not use these sequences. Return false
 * to end the call. */
typedef bool rsr_progress_fn(void *user, size_t n_done, size_t n_entries);

typedef struct rsr_batch {
    uint32_t size_bytes;
    const rsr_batch_entry *entries;
    size_t n_entries;
    float *logits;          /* [entries with want_logits][vocab], in entry order. From an embedding
                               model, and with want_states: the hidden states after the last norm,
                               [..][hidden] */
    size_t logits_capacity; /* floats */
    const rsr_pick *picks;  /* entries ascending */
    size_t n_picks;
    uint32_t *picked;          /* [n_picks] tokens */
    const rsr_cancel *cancel;  /* NULL: nothing cancels it */
    rsr_progress_fn *progress; /* NULL: none */
    void *progress_user;
    rsr_status *statuses; /* [n_entries]; NULL: the batch succeeds or fails as a whole. Otherwise a
                             bad token or position, a full pool or context, and numbers that are not
                             finite fail only the entries of that sequence, and all of these receive
                             the status. Other sequences are extended; their logits and picks are
                             valid */
    uint32_t entry_bytes, pick_bytes; /* size of an element of `entries` and of `picks`; 0: 24 and
                                         16, their present sizes. A runtime refuses longer elements
                                         if bytes that it does not know are not 0 */
    bool want_states;             /* give hidden states in place of logits and leave out the head's
                                     computation; the batch then has no picks or
                                     log-probabilities */
    uint32_t logprobs_bytes;      /* as entry_bytes, for `logprobs`; 0: 24 */
    const rsr_logprobs *logprobs; /* entries ascending, each once */
    size_t n_logprobs;
} rsr_batch;
#define RSR_BATCH_INIT RSR_SIZED(rsr_batch)

/* Evaluates all entries and appends them to their sequences. A prompt, one decode step of many
 * sequences and a verification are the same call. On failure (RSR_ERR_STOPPED is one) only
 * sequences whose `statuses` are RSR_OK have changed; logits, picked and log-probabilities may hold
 * what was computed before the failure. With `statuses`, the call returns the status of the first
 * entry that failed, and `err` says which entry this is and why. For failed entries, logits and
 * log-probabilities are not written and picks are UINT32_MAX. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_eval(rsr_engine *engine, const rsr_batch *batch,
                                             rsr_error *err);

/* ---- Embeddings ------------------------------------------------------------------------------ */

typedef struct rsr_embed_options {
    uint32_t size_bytes;
    const char *pooling; /* which hidden states of a text give its embedding: "last", "first" or
                            "mean". NULL: as the checkpoint says; a language model's says nothing */
    bool keep_length;    /* do not divide embeddings by their length; no effect where the model does
                            not divide them */
    const rsr_cancel *cancel; /* NULL: nothing cancels the call */
} rsr_embed_options;
#define RSR_EMBED_OPTIONS_INIT RSR_SIZED(rsr_embed_options)

/* Computes the embeddings of n_texts texts: hidden states, pooled and normalised. Text i is
 * n_tokens[i] tokens at tokens[i]. The result is n_texts rows of rsr_model_info.hidden floats.
 * Texts are evaluated together, in sequences that end with the call, but a row depends only on its
 * text: it has the bits that the text gives alone. RSR_ERR_ARGUMENT: a language model without a
 * pooling, a text without tokens, or capacity (in floats) too small. RSR_ERR_FULL: the tokens do
 * not fit into the engine's context or its free KV pages. RSR_ERR_STOPPED: the call was cancelled.
 * On failure rows of texts before the failing one may be written. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_embed(rsr_engine *engine, const uint32_t *const *tokens,
                                              const size_t *n_tokens, size_t n_texts,
                                              const rsr_embed_options *options, float *embeddings,
                                              size_t capacity, rsr_error *err);

/* ---- Sampling -------------------------------------------------------------------------------- */

typedef struct rsr_logit_bias {
    uint32_t token;
    float bias; /* at most 1e6 in magnitude; or -infinity, which rules the token out */
} rsr_logit_bias;

/* Options apply in this order: up to the temperature it is vLLM's, after it that of transformers.
 *   allowed             a token whose bit is 0 is ruled out
 *   logit_bias          logit + bias
 *   repeat_penalty      once for a token in the window: logit / penalty, or logit * penalty
 *                       where the logit is negative
 *   frequency_penalty   logit - penalty * number of times that the token was generated
 *   presence_penalty    logit - penalty, if the token was generated
 *   temperature         logit / temperature; at 0 the largest logit wins and the filters do not
 *                       apply
 *   top_k, top_p, min_p each filters what the one before it leaves. min_p compares with the largest
 *                       p, which no filter drops
 * Logits are float32 until they are divided by the temperature. */
typedef struct rsr_sampling {
    uint32_t size_bytes;
    float temperature;      /* 0: greedy (lowest id wins a tie) */
    uint32_t top_k;         /* 0: off */
    float top_p;            /* 1: off */
    float min_p;            /* 0: off; keep p >= min_p * largest p */
    float repeat_penalty;   /* 1: off; counts the last repeat_window tokens */
    uint32_t repeat_window; /* 0: off */
    uint64_t seed;          /* noise is hash(seed, sequence_id, position, token) */
    uint64_t sequence_id;
    float presence_penalty, frequency_penalty; /* 0: off; at most 1e6 in magnitude (OpenAI allows -2
                                                  to 2) */
    uint32_t generated_from; /* position of the first token that counts as generated for these two
                                penalties; 0 in rsr_generate: the first token after the prompt */
    uint32_t allowed_words;  /* words of `allowed`: (vocab + 31) / 32 */
    const uint32_t *allowed; /* NULL: every token. Token t is bit t % 32 of word t / 32, bit 0 being
                                the lowest. At least one bit must be set; bits past the vocabulary
                                do not count. The set is read anew for every token */
    const rsr_logit_bias *logit_bias; /* the last one for a token counts */
    size_t n_logit_bias;
} rsr_sampling;
#define RSR_SAMPLING_INIT                                                                          \
    { sizeof(rsr_sampling), 0.0f, 0, 1.0f, 0.0f, 1.0f, 64, 0, 0, 0.0f, 0.0f, 0, 0, NULL, NULL, 0 }

/* Picks the token that follows `history`, whose length n_history is the token's position. Logits
 * are not changed; a logit of -infinity rules its token out. RSR_ERR_NUMERIC: a logit is NaN or
 * infinity, or all tokens are ruled out. RSR_ERR_ARGUMENT: an option is out of range. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_sample(const rsr_model *model, const rsr_sampling *sampling,
                                               const float *logits, const uint32_t *history,
                                               size_t n_history, uint32_t *token, rsr_error *err);

/* ---- Generation ------------------------------------------------------------------------------ */

/* One generated token; a stop token is reported, too. text is complete UTF-8, without special and
 * stop tokens, and lives until the callback returns. It may be empty: text is held back while later
 * tokens decide what a character is, or whether a stop string has begun. Return false to stop. */
typedef struct rsr_generated {
    uint32_t size_bytes;
    uint32_t token;
    const char *text;
    size_t text_bytes;
    const rsr_logprob *logprobs; /* with rsr_generate_options.logprobs: the token's own, then those
                                    of the likeliest tokens; they live as long as text. NULL:
                                    none */
    size_t n_logprobs;
} rsr_generated;
typedef bool rsr_generate_fn(void *user, const rsr_generated *generated);

/* Shows the logits that follow `tokens`. The callback may change them in place: -infinity rules a
 * token out. Options of rsr_sampling are applied afterwards. Return false to stop. */
typedef bool rsr_logits_fn(void *user, const uint32_t *tokens, size_t n_tokens, float *logits,
                           size_t n_logits);

#define RSR_MAX_DRAFTS 16
typedef struct rsr_generate_options {
    uint32_t size_bytes;
    uint32_t max_tokens;     /* 0: 128 */
    uint32_t tokenize_flags; /* for the prompt; default RSR_TOKENIZE_ADD_SPECIAL, which applies only
                                if the sequence is empty */
    const rsr_sampling *sampling; /* NULL: greedy */
    const uint32_t *stop_tokens;  /* besides the model's own */
    uint32_t n_stop_tokens;
    bool ignore_stop;              /* do not stop at stop tokens */
    const uint32_t *prompt_tokens; /* the prompt as tokens, instead of its text; NULL: none */
    size_t n_prompt_tokens;
    const rsr_cancel *cancel;  /* NULL: nothing cancels it */
    rsr_progress_fn *progress; /* of the prompt; NULL: none */
    void *progress_user;
    const char *const *stop_strings; /* texts, not empty, that end the generation, even if they
                                        begin or end within a token. The callback's text ends before
                                        the string that is complete first (the longest one, if
                                        several are). The prompt is not searched */
    uint32_t n_stop_strings;
    uint32_t n_top_logprobs; /* see logprobs */
    rsr_logits_fn *logits; /* called before each pick, for which the head is then read whole; NULL:
                              none */
    void *logits_user;
    rsr_generate_fn *prompt_token; /* called with every token of the prompt, before `callback` is
                                      first called; without text. With `logprobs` it gets each
                                      token's log-probability, given the tokens before it; the first
                                      token has none. NULL: none */
    bool logprobs;       /* fill in rsr_generated.logprobs for the token and the n_top_logprobs
                            likeliest (at most RSR_MAX_TOP_LOGPROBS), as in rsr_logprobs and before
                            `logits` changes any */
    uint8_t reserved[7]; /* 0; a runtime that is too old for the members above refuses bytes that
                            are set */
    uint32_t speculate;  /* largest number of tokens drafted in a step, at most RSR_MAX_DRAFTS; 0:
                            no drafts. Drafts are the tokens that came after an earlier occurrence
                            of the text's last tokens, in the prompt or in the generated text. One
                            step evaluates them together with the next token. The drafts that
                            sampling picks as well are delivered one by one; the sequence forgets
                            the others. Tokens are drafted only while measured times say that drafts
                            pay. No token, text or log-probability depends on drafts, and callbacks
                            find the sequence as it is without them; the engine's statistics count
                            them. An engine with a probe refuses this option, because the probe
                            would see drafts */
    uint8_t unread[4];   /* 0; fills the struct up. No runtime reads it: no member may go here */
} rsr_generate_options;
#define RSR_GENERATE_OPTIONS_INIT                                                                  \
    {                                                                                              \
        sizeof(rsr_generate_options), 0, RSR_TOKENIZE_ADD_SPECIAL, NULL, NULL, 0, false, NULL, 0,  \
            NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, false, {0}, 0, {                       \
            0                                                                                      \
        }                                                                                          \
    }

typedef enum rsr_stop_reason {
    RSR_STOP_LENGTH,   /* max_tokens */
    RSR_STOP_TOKEN,    /* a stop token */
    RSR_STOP_CONTEXT,  /* the engine's context is full */
    RSR_STOP_CALLBACK, /* callback, progress, logits or prompt_token returned false */
    RSR_STOP_STRING,   /* a stop string */
    RSR_STOP_CANCELLED /* rsr_cancel_request */
} rsr_stop_reason;

typedef struct rsr_generate_result {
    uint32_t size_bytes;
    uint32_t prompt_tokens, tokens;
    uint64_t prefill_ns, decode_ns;
    rsr_stop_reason stop_reason;
    uint32_t reserved;          /* an older runtime writes so far */
    uint32_t drafted, accepted; /* with `speculate`: tokens that were evaluated as drafts, and how
                                   many of them were right */
    /* additional time, beyond decode_ns, that steps of one token would have taken, estimated from
     * measured steps; below 0: they would have taken less */
    int64_t saved_ns;
} rsr_generate_result;
#define RSR_GENERATE_RESULT_INIT RSR_SIZED(rsr_generate_result)

/* Appends the prompt to the sequence and generates tokens. The last generated token is not yet in
 * the sequence: to go on after it, begin the next call's prompt_tokens with it. Tokens are sampled
 * as by rsr_sample with the whole sequence as history, also what earlier calls evaluated. A call
 * that a callback stopped or that was cancelled is no failure: the status is RSR_OK, and `result`
 * says what stopped it. If it stopped during the prompt, nothing of the prompt is in the sequence.
 * On failure the sequence holds what was evaluated. callback and result may be NULL. Callbacks must
 * not change a sequence that is being generated. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_generate(rsr_engine *engine, rsr_sequence *sequence,
                                                 const char *prompt, size_t prompt_bytes,
                                                 const rsr_generate_options *options,
                                                 rsr_generate_fn *callback, void *user,
                                                 rsr_generate_result *result, rsr_error *err);

/* Version of this library, "MAJOR.MINOR.PATCH". */
RSR_EXPORT const char *rsr_version(void);

#ifdef __cplusplus
}
#endif
#endif
