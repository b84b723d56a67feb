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
 *   Ownership   what *_create, *_fork or rsr_open returns is the caller's, ended by *_destroy or
 *               rsr_close, which take NULL, too. Strings and arrays inside info structs belong to
 *               the model.
 *   Order       an engine ends after its sequences and prefix caches, a model after its engines.
 *   Threads     a model is immutable and may be shared. An engine computes for one call at a time,
 *               in the order in which they come; rsr_eval of more than max_batch tokens lets those
 *               that came meanwhile go first after every max_batch. So a call waits for no more
 *               than that of each other caller. Info, statistics and the end or truncation of a
 *               sequence wait for nobody. A sequence belongs to one thread at a time.
 *   Stack       calls take up to 256 KiB of it.
 *   Errors      functions return a status; `err` may be NULL, else it receives one sentence on
 *               failure and is left alone on success. On failure no out-parameter is touched,
 *               unless the function says so. After fork() the child may end what it inherited;
 *               every other call on it returns RSR_ERR_FORK.
 *   Options     structs begin with their size; initialise with the *_INIT macro. NULL means the
 *               defaults. An option that the model's runtime is too old to know is refused, not
 *               ignored.
 *   Ages        a module brings its own runtime: this library opens modules that an older or a
 *               newer rsrc made, from the first one with ABI 9 on. A function that the module's
 *               runtime is too old to have fails with RSR_ERR_ABI and says so; members of an info
 *               struct that it does not know stay as they were. A struct that the library hands out
 *               (rsr_generated, rsr_probe_point, rsr_model_info.sampling) has the members that its
 *               size_bytes says.
 *   Callbacks   return, without longjmp or exception. They may call this library, the same engine
 *               too.
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

/* Version of this header; rsr_version() is that of the library that runs. The shared library's
 * soname has MAJOR. */
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

/* For RSR_..._INIT: zeros behind the size. C++ names no members before C++20. */
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
    RSR_ERR_FORK     /* the object was created in another process */
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
    RSR_OPEN_VERIFY = 1 /* read the whole file first, and refuse one that has changed:
                           rsr_verify() */
};

typedef struct rsr_open_options {
    uint32_t size_bytes;
    const char *target; /* force this target of the module; NULL: the best the host can run */
    rsr_pages pages;
    uint64_t flags; /* enum rsr_open_flag */
} rsr_open_options;
#define RSR_OPEN_OPTIONS_INIT                                                                      \
    { sizeof(rsr_open_options), NULL, RSR_PAGES_AUTO, 0 }

/* The file stays mapped until the last model of it is closed. To replace it, rename another one to
 * its name, which rsr_open then opens. A file without rsrc's note is refused before it is loaded:
 * nothing in it runs. A program that is linked statically cannot load files: it gets RSR_ERR_FILE,
 * and uses rsr_open_query. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_open(const char *path, const rsr_open_options *options,
                                             rsr_model **model, rsr_error *err);

/* A part of a module's file: what of the weights it is ("embedding"), or ELF's name (".text"). */
typedef struct rsr_section {
    uint32_t size_bytes;
    const char *name;
    uint64_t begin, end; /* bytes of the file */
    bool intact;
} rsr_section;
typedef void rsr_section_fn(void *user, const rsr_section *section);

/* Reads a module's file and compares it with the hashes that rsrc put into it, section by section;
 * loads nothing. The sections are all of the file. RSR_ERR_FILE, with the first one's name, if any
 * has changed, and if the file has been cut or has grown. `found` may be NULL. The hashes find what
 * disks, memory and copies have spoilt; they are no protection against somebody who changes
 * both. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_verify(const char *path, rsr_section_fn *found, void *user,
                                               rsr_error *err);

/* The same as rsr_open for a module that the application loaded or linked itself, whose file is not
 * looked at. `query` is the module's rsr_module_query. A model is linked into a program, a static
 * one too, as the object of `rsrc --emit=obj` with librsr_module.a: examples/embed-c/README.md. */
struct rsr_module;
struct rsr_host;
RSR_EXPORT RSR_NODISCARD rsr_status
rsr_open_query(const struct rsr_module *(*query)(uint32_t, const struct rsr_host *),
               const rsr_open_options *options, rsr_model **model, rsr_error *err);

/* Behind its engines and detokenizers. Unmaps the file that rsr_open mapped, if no other model of
 * it is open; what infos and profiles said of names is gone then. It stays mapped in a child after
 * fork(). An OpenMP library that an older module has taken its threads from stays loaded. */
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
    uint64_t weight_bytes; /* codes, index, dense layers, embedding, head and its sketch of the
                              target in use */
    uint64_t token_bytes;  /* of those, what one decode step reads: at most, of layers that compute
                              listed rows or columns alone (--relu2-active); of a head with a sketch
                              the sketch's first plane, and not the rows that it leaves open */
    uint8_t model_hash[16];
    const char *compiler_version;
    const char *pages;     /* what the weights lie on: "huge", "plain", "copied" and why */
    const char *pooling;   /* of an embedding model: "last", "first" or "mean"; NULL: a language
                              model */
    uint32_t output_size;  /* floats of an entry with want_logits: vocab, or hidden of an embedding
                              model */
    uint64_t logits_bytes; /* what a step reads more than token_bytes where it gives logits */
    const char *float_operations; /* the runtime's own: "generic", "avx2" or "avx512", the best that
                                     this CPU has, whatever the target; all give the same bits */
    const struct rsr_sampling *sampling; /* how the checkpoint wants tokens to be sampled, for
                                            rsr_generate_options; NULL: it does not say */
    const char *chat_problem;  /* why the chat template renders no conversation, a sentence with the
                                  line and what stands there; NULL: it renders, or there is none */
    uint64_t text_bytes;       /* that one token stands for at most, where special tokens are not
                                  parsed: a text of more than n * text_bytes bytes has more than n
                                  tokens. 0: nothing is known, for a tokenizer may pass over any
                                  stretch of text */
    uint64_t kv_token_bytes;   /* of keys and values, that a token takes in an engine without
                                  options */
    uint32_t kv_page_tokens;   /* of sequences, which take their memory in whole pages */
    const char *chat_template; /* its Jinja source, untrusted text from the checkpoint; NULL: there
                                  is none */
} rsr_model_info;
#define RSR_MODEL_INFO_INIT RSR_SIZED(rsr_model_info)

RSR_EXPORT RSR_NODISCARD rsr_status rsr_model_get_info(const rsr_model *model,
                                                       rsr_model_info *info);

/* One emitted kernel, for reports; index 0 .. until RSR_ERR_ARGUMENT. */
typedef struct rsr_kernel_info {
    uint32_t size_bytes;
    const char *name, *variant, *reason, *role;
    uint32_t block, rows, cols; /* block UINT32_MAX: none */
    uint64_t weight_bytes;
} rsr_kernel_info;
#define RSR_KERNEL_INFO_INIT RSR_SIZED(rsr_kernel_info)

RSR_EXPORT RSR_NODISCARD rsr_status rsr_model_get_kernel(const rsr_model *model, uint32_t index,
                                                         rsr_kernel_info *info);

/* ---- Text ------------------------------------------------------------------------------------ */

enum {
    RSR_TOKENIZE_ADD_SPECIAL = 1,   /* what the tokenizer puts around a text (BOS) */
    RSR_TOKENIZE_PARSE_SPECIAL = 2, /* "<|eot_id|>" in the text is that token, not its letters */
    RSR_TOKENIZE_CONTINUES = 4      /* the text goes on behind another: nothing is put in front of
                                       it, neither BOS nor the space that many tokenizers begin
                                       texts with */
};

/* Text, of less than 2 GiB, to tokens. Invalid UTF-8 is replaced by U+FFFD first, as Python's
 * errors='replace' does. *n_tokens receives the count even if it exceeds `capacity`; then tokens
 * holds the first `capacity` and the status is RSR_ERR_FULL. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_tokenize(const rsr_model *model, const char *text,
                                                 size_t text_bytes, uint32_t flags,
                                                 uint32_t *tokens, size_t capacity,
                                                 size_t *n_tokens, rsr_error *err);

/* Tokens to text; invalid UTF-8 in the result is replaced by U+FFFD. Writes at most `capacity`
 * bytes, no terminator; *text_bytes receives the full length, and if that exceeds `capacity` the
 * status is RSR_ERR_FULL. skip_special drops special tokens. Many tokenizers put a space in front
 * of every text, which is dropped here: detokenise a text as a whole, or by an rsr_detokenizer. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_detokenize(const rsr_model *model, const uint32_t *tokens,
                                                   size_t n_tokens, bool skip_special, char *text,
                                                   size_t capacity, size_t *text_bytes,
                                                   rsr_error *err);

/* Tokens to text as they come. Bytes of a character may lie in several tokens: text comes when it
 * is complete. All pieces together are what rsr_detokenize makes of all tokens. */
typedef struct rsr_detokenizer rsr_detokenizer;
enum {
    RSR_DETOKENIZE_SKIP_SPECIAL = 1,
    RSR_DETOKENIZE_CONTINUES = 2 /* the text goes on behind another: its first space is its own */
};
RSR_EXPORT RSR_NODISCARD rsr_status rsr_detokenizer_create(const rsr_model *model, uint32_t flags,
                                                           rsr_detokenizer **detokenizer,
                                                           rsr_error *err);
RSR_EXPORT void rsr_detokenizer_destroy(rsr_detokenizer *detokenizer);
/* *text, which lives until the next call, receives text_bytes of valid UTF-8, often none, without a
 * terminator. rsr_detokenizer_finish gives what was held back, repaired; then a new text begins,
 * with the same flags. For one thread at a time. */
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
    bool is_byte;    /* of those that stand for bytes which no other token has ("<0x0A>") */
} rsr_token_info;
#define RSR_TOKEN_INFO_INIT RSR_SIZED(rsr_token_info)

/* The bytes that a token adds to a text behind other tokens: no valid UTF-8 where characters lie in
 * several tokens, none where the id has no text. Buffer rules as rsr_detokenize; info may be
 * NULL. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_model_get_token(const rsr_model *model, uint32_t token,
                                                        char *bytes, size_t capacity,
                                                        size_t *n_bytes, rsr_token_info *info,
                                                        rsr_error *err);

typedef struct rsr_message {
    const char *role;    /* "system", "user", "assistant" */
    const char *content; /* NUL-terminated UTF-8 */
} rsr_message;

/* Renders messages with the model's chat template. Buffer rules as rsr_detokenize. The text does
 * not say which of it a user wrote: tokenised with RSR_TOKENIZE_PARSE_SPECIAL, a user's
 * "<|eot_id|>" ends the turn. rsr_chat_tokens has no such problem. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_chat_format(const rsr_model *model,
                                                    const rsr_message *messages, size_t n_messages,
                                                    bool add_generation_prompt, char *text,
                                                    size_t capacity, size_t *text_bytes,
                                                    rsr_error *err);

/* A conversation as tokens, rendered with the model's chat template. `conversation` is JSON: the
 * array of messages, or {"messages": [...], "tools": [...], "enable_thinking": false, ...}, whose
 * keys are variables of the template, as the arguments of Hugging Face's apply_chat_template are. A
 * message may have any fields ("role", "content", "tool_calls", "reasoning_content", ...).
 *
 * No string of the conversation gives a special token, or a part of one; it is plain text wherever
 * the template puts it, but for a "role" of system, developer, user, assistant, model, tool,
 * function or ipython. Added tokens that are not special are found in it. What
 * RSR_TOKENIZE_ADD_SPECIAL puts in front of texts is there once, where the model has a BOS.
 *
 * Buffer rules as rsr_tokenize. RSR_ERR_ARGUMENT if the JSON is malformed, has a key twice, a
 * number that is neither an int64 nor a finite double, more than 64 MiB, 48 levels, 512 keys in an
 * object or 2^19 values; RSR_ERR_TEXT if the template cannot render it. Invalid UTF-8 is replaced
 * as in rsr_tokenize. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_chat_tokens(const rsr_model *model,
                                                    const char *conversation,
                                                    size_t conversation_bytes,
                                                    bool add_generation_prompt, uint32_t *tokens,
                                                    size_t capacity, size_t *n_tokens,
                                                    rsr_error *err);

/* The text of such a conversation: equal to what apply_chat_template makes of it without
 * tokenising. Buffer rules as rsr_detokenize; as with rsr_chat_format, the text does not say what a
 * user wrote. */
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
    RSR_PROBE_LOGITS_INPUT
} rsr_probe_kind;

/* What a probe sees. `data` may be changed in place; it is called between barriers on one thread,
 * while its engine is busy: it must not call the engine or its sequences. */
typedef struct rsr_probe_point {
    uint32_t size_bytes;
    rsr_probe_kind kind;
    uint32_t block;   /* UINT32_MAX: none */
    const char *role; /* "q", "gate", ... of a linear; a norm's name; "" else */
    void *data;       /* LINEAR_INPUT: activation rows (rsr_abi.h) of a layer that multiplies int8;
                         else float rows */
    size_t row_bytes; /* distance of rows */
    uint32_t cols;    /* elements of a row */
    uint32_t n_tokens;
    const uint32_t *positions;
} rsr_probe_point;
typedef void rsr_probe_fn(void *user, const rsr_probe_point *point);

typedef struct rsr_engine_options {
    uint32_t size_bytes;
    uint32_t n_threads;  /* at most, the calling thread among them. 0: as many as this process may
                            use cores (mask or OpenMP places, quota) */
    uint32_t context;    /* largest sequence; 0: the model's own */
    uint32_t kv_tokens;  /* tokens the page pool holds, over all sequences; 0: `context`. More than
                            the memory of the machine, or of the process's cgroup, holds is refused
                            (RSR_ERR_MEMORY); where context is 0 as well, the pool is then as large
                            as that memory */
    uint32_t max_batch;  /* tokens evaluated at once inside; 0: 128 */
    bool pin_threads;    /* bind the engine's own threads to CPUs, one each; the calling thread
                            stays as it is */
    rsr_probe_fn *probe; /* for tests and traces; NULL: none */
    void *probe_user;
    const char *attention; /* "dense", or through the KV index of rsr_louver.h:
                              "louver[:THRESHOLD][,min=KEYS][,sinks=N][,window=N]", THRESHOLD one of
                              its rules, as "topk:20" (mass:1e-3); tokens that see fewer than KEYS
                              keys have dense attention. Without it these are those for which that
                              was measured to be faster: that see fewer than 8,192 keys or, of
                              topk:K, 128 K; of budget:F above 1/128 all. NULL: dense */
    const char *kv_type;   /* how keys and values are stored: "f32", "bf16", "f16" (rounded to
                              nearest; finite numbers beyond the type's become its largest) or
                              "int8" (with a scale a row). Attention is then computed over what is
                              stored, exactly as over the same numbers in f32. NULL or "": bf16,
                              whatever host and target are; of an embedding model f32 */
    uint32_t max_stall_ms; /* of many tokens only so many at once as take about this long, by what
                              those before them took, but at least 8: other calls wait less, prompts
                              take longer. 0: max_batch alone bounds them. No result depends on
                              it */
    bool kv_commit;        /* commit the pool's memory when the engine is created: what does not fit
                              is refused then (RSR_ERR_MEMORY). Without it pages are committed as
                              they are used, and where memory runs out in between the kernel ends
                              the process */
    uint8_t reserved[3];   /* 0, as the other reserved bytes: options behind them are beyond what an
                              older runtime knows, which so refuses them */
    bool all_threads;      /* every step takes n_threads, even where fewer were measured to be
                              faster; always so with a probe */
    uint8_t reserved_too[7];
} rsr_engine_options;
#define RSR_ENGINE_OPTIONS_INIT RSR_SIZED(rsr_engine_options)

RSR_EXPORT RSR_NODISCARD rsr_status rsr_engine_create(rsr_model *model,
                                                      const rsr_engine_options *options,
                                                      rsr_engine **engine, rsr_error *err);
RSR_EXPORT void rsr_engine_destroy(rsr_engine *engine);

typedef struct rsr_engine_info {
    uint32_t size_bytes;
    uint32_t n_threads, context, kv_tokens, max_batch;
    uint32_t kv_tokens_free; /* whole pages, in tokens; with those that only prefix caches have */
    uint64_t kv_bytes, arena_bytes;
    const char *kv_type;     /* "f32", "bf16", "f16", "int8" */
    uint64_t kv_token_bytes; /* of kv_bytes, that a token takes */
    uint32_t kv_page_tokens; /* of a page: a sequence of n tokens has n / kv_page_tokens of them,
                                rounded up, and shares the full ones with its forks */
    uint32_t reserved;       /* an older runtime writes so far */
    uint32_t n_step_threads; /* that a step of one token takes now: fewer than n_threads where fewer
                                were measured to be faster, since the model is small or other
                                programs have the CPUs. Other numbers of threads are tried now and
                                then, for some 20 ms each; steps of 16 tokens and more take all. No
                                result depends on it */
} rsr_engine_info;
#define RSR_ENGINE_INFO_INIT RSR_SIZED(rsr_engine_info)
RSR_EXPORT RSR_NODISCARD rsr_status rsr_engine_get_info(const rsr_engine *engine,
                                                        rsr_engine_info *info);

/* Time spent by operation, for `rsr-bench model --profile`. Reports what was collected since the
 * last call, starts again from zero, and from now on collects (enable) or not; what is being
 * computed meanwhile counts when it is done, as in the statistics below. Collecting costs
 * three clock reads per operation; off until enabled. entries may be NULL to drop the report.
 * *n_entries (may be NULL) receives the count; if it exceeds `capacity`, the status is RSR_ERR_FULL
 * and nothing is reset. */
typedef struct rsr_profile_entry {
    uint32_t size_bytes; /* all entries have that of the first */
    const char *name;    /* "q", "gate", "attention", "head", ... */
    uint64_t time_ns;    /* of the last worker, its barrier included: over all entries, of the
                            steps */
    uint64_t wait_ns;    /* at the barrier, mean of the workers: what they had nothing to do for */
    uint64_t calls;
    uint64_t bytes; /* that the calls read from memory and write to it: weights and their scales,
                       norms, rows of the embedding, keys and values. What a step makes and uses up
                       stays in the caches and is not counted */
} rsr_profile_entry;
#define RSR_PROFILE_ENTRY_INIT RSR_SIZED(rsr_profile_entry)
RSR_EXPORT RSR_NODISCARD rsr_status rsr_engine_profile(rsr_engine *engine, bool enable,
                                                       rsr_profile_entry *entries, size_t capacity,
                                                       size_t *n_entries);

/* What attention read and left out since the engine was created or the last reset; with "dense",
 * names only. Errors are of single operations: |output of a head - dense attention over the same
 * query and the stored keys and values| <= max_error, but for float32 rounding; |the latter - dense
 * attention over keys and values as they were before they were stored| <= max_storage_error. They
 * change what later layers see, so nothing is said of logits. What storing loses is not certified
 * where attention is dense. What is read may depend on n_threads (of topk and budget each thread
 * finds the best of its pages); what is left out does not. */
typedef struct rsr_attention_stats {
    uint32_t size_bytes;
    uint32_t min_keys;             /* fewer keys than this are attended to densely; UINT32_MAX:
                                      all */
    const char *name;              /* "dense", "louver" */
    uint64_t dense, indexed;       /* (token, layer, KV head): without and through the index; */
    uint64_t keys;                 /* that the latter see; of these some query head read */
    uint64_t scanned;              /* the first plane, */
    uint64_t plane2;               /* the second plane, */
    uint64_t exact;                /* key and value */
    uint64_t pages, pages_skipped; /* full ones; skipped: only their bounds were read */
    double max_mass;               /* largest part of a softmax that was left out, at most this */
    double max_error;              /* largest certified_error (rsr_louver.h) */
    double max_storage_error;      /* largest storage_error (rsr_louver.h) */
} rsr_attention_stats;
#define RSR_ATTENTION_STATS_INIT RSR_SIZED(rsr_attention_stats)
RSR_EXPORT RSR_NODISCARD rsr_status rsr_engine_attention_stats(rsr_engine *engine, bool reset,
                                                               rsr_attention_stats *stats);

/* How tokens were picked (rsr_batch.picks) since the engine was created or the last reset. */
typedef struct rsr_head_stats {
    uint32_t size_bytes;
    uint32_t n_planes;       /* of the head's sketch; 0: it has none */
    uint64_t sketched, full; /* picks from a sketch or allowed rows of the head, and from all
                                logits; the former read */
    uint64_t scanned;        /* rows of the sketch's first plane, */
    uint64_t plane2;         /* of its second one, */
    uint64_t exact;          /* and of the head */
} rsr_head_stats;
#define RSR_HEAD_STATS_INIT RSR_SIZED(rsr_head_stats)
RSR_EXPORT RSR_NODISCARD rsr_status rsr_engine_head_stats(rsr_engine *engine, bool reset,
                                                          rsr_head_stats *stats);

/* ---- Sequences ------------------------------------------------------------------------------- */

RSR_EXPORT RSR_NODISCARD rsr_status rsr_sequence_create(rsr_engine *engine, rsr_sequence **sequence,
                                                        rsr_error *err);
/* The memory of pages that no sequence has any more, by this or by truncation, goes back to the
 * system, but for one page's, unless the engine has kv_commit. */
RSR_EXPORT void rsr_sequence_destroy(rsr_sequence *sequence);
RSR_EXPORT uint32_t rsr_sequence_length(const rsr_sequence *sequence);
/* Its tokens: length of them, until a call changes the sequence. NULL: the sequence is. */
RSR_EXPORT const uint32_t *rsr_sequence_tokens(const rsr_sequence *sequence);

/* Forgets every token from position `length` on. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_sequence_truncate(rsr_sequence *sequence, uint32_t length,
                                                          rsr_error *err);
/* A new sequence with the same content; full pages are shared, the open one is copied. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_sequence_fork(rsr_sequence *sequence, rsr_sequence **fork,
                                                      rsr_error *err);

/* Writes tokens, keys and values to a file, so that another process goes on where this one was. The
 * file gets its name when all of it is on the disk: a failure leaves what had the name, and nothing
 * else. It can be read by its owner alone, for it holds what was said. RSR_ERR_FILE: it cannot be
 * written. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_sequence_save(rsr_sequence *sequence, const char *path,
                                                      rsr_error *err);
/* A new sequence with what such a file holds: what is evaluated after it has the bits that it would
 * have had after the sequence that was saved. Everything is checked before it is used; RSR_ERR_FILE
 * says what does not fit: another model, another version of rsrc, an engine with another kv_type or
 * attention; of a model with float activations other kernels, too; or a file that has changed. The
 * hashes in it find accidents; somebody who changes both gets wrong numbers, and nothing worse.
 * RSR_ERR_FULL: the engine's context or free KV pages hold fewer tokens. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_sequence_load(rsr_engine *engine, const char *path,
                                                      rsr_sequence **sequence, rsr_error *err);

/* The stored key and value of the token at `position` in a layer, for traces:
 * [n_kv_heads][head_dim] floats each, as attention reads them. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_sequence_read_kv(rsr_sequence *sequence, uint32_t position,
                                                         uint32_t layer, float *keys, float *values,
                                                         rsr_error *err);

/* ---- Prefix cache ---------------------------------------------------------------------------- */

/* Keeps keys and values of what was evaluated, so that a prompt that begins with the same tokens
 * does not evaluate them again: rsr_prefix_cache_take() in place of rsr_sequence_create(), and
 * rsr_prefix_cache_put() when a prompt or an answer is done. Logits have the same bits with a cache
 * and without one.
 *
 * It is a tree of KV pages over their tokens. A page that several sequences have is kept once;
 * keeping copies nothing. What was not used for longest goes first, the ends of texts before their
 * beginnings. Where a sequence needs a page and none is free, caches yield theirs: no call fails
 * for what is only cached.
 *
 * Threads: any thread may call at any time. Calls are short and wait for no evaluation. An engine
 * may have several caches, and ends after them. */
typedef struct rsr_prefix_cache rsr_prefix_cache;

typedef struct rsr_prefix_cache_options {
    uint32_t size_bytes;
    uint64_t budget_bytes; /* of keys and values that are kept, whole pages, those that sequences
                              have now among them; 0: all of the engine's. Less than one page is
                              RSR_ERR_ARGUMENT */
} rsr_prefix_cache_options;
#define RSR_PREFIX_CACHE_OPTIONS_INIT RSR_SIZED(rsr_prefix_cache_options)

RSR_EXPORT RSR_NODISCARD rsr_status rsr_prefix_cache_create(rsr_engine *engine,
                                                            const rsr_prefix_cache_options *options,
                                                            rsr_prefix_cache **cache,
                                                            rsr_error *err);
/* Sequences that came from it live on. */
RSR_EXPORT void rsr_prefix_cache_destroy(rsr_prefix_cache *cache);

/* A new sequence with the longest beginning of `tokens` that is cached, but without the last token,
 * whose logits somebody will want: rsr_sequence_length() says how many tokens that is. The others
 * are the caller's to evaluate. tokens may be NULL if n_tokens is 0. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_prefix_cache_take(rsr_prefix_cache *cache,
                                                          const uint32_t *tokens, size_t n_tokens,
                                                          rsr_sequence **sequence, rsr_error *err);

/* Keeps what the sequence holds, which stays the caller's. Of more than the budget its beginning is
 * kept. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_prefix_cache_put(rsr_prefix_cache *cache,
                                                         rsr_sequence *sequence, rsr_error *err);

/* Forgets what was not used for longest until at most `bytes` are kept, and gives the memory back
 * to the system as rsr_sequence_destroy() does. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_prefix_cache_shrink(rsr_prefix_cache *cache, uint64_t bytes,
                                                            rsr_error *err);

typedef struct rsr_prefix_cache_info {
    uint32_t size_bytes;
    uint64_t budget_bytes;          /* whole pages */
    uint64_t bytes;                 /* that are kept: never more */
    uint64_t takes, hits;           /* calls, and those that found a token */
    uint64_t tokens, cached_tokens; /* that were asked for, and found */
    uint64_t evicted_pages; /* forgotten for others, those that were yielded to sequences among
                               them */
    uint64_t yielded_pages;
} rsr_prefix_cache_info;
#define RSR_PREFIX_CACHE_INFO_INIT RSR_SIZED(rsr_prefix_cache_info)
RSR_EXPORT RSR_NODISCARD rsr_status rsr_prefix_cache_get_info(const rsr_prefix_cache *cache,
                                                              rsr_prefix_cache_info *info);

/* ---- Evaluation ------------------------------------------------------------------------------ */

typedef struct rsr_batch_entry {
    rsr_sequence *sequence;
    uint32_t position; /* must be the next one of its sequence, in batch order */
    uint32_t token;
    bool want_logits;
} rsr_batch_entry;

/* A token to be picked behind an entry: what rsr_sample() gives for the entry's logits and all
 * tokens of its sequence up to and including it, without reading all of the head where the module
 * has a sketch of it; with an allowed set of an eighth of the vocabulary or less, only the set's
 * rows of a dense head. An entry that also wants logits or log-probabilities, a repeat_penalty
 * below 1, and a top_k or tokens with raised logits of more than an eighth of the vocabulary read
 * it all. So does top_p without top_k, where bounds of the other logits do not prove that the token
 * is in the nucleus: where many tokens hold the probability. rsr_head_stats counts both. */
typedef struct rsr_pick {
    size_t entry;
    const struct rsr_sampling *sampling; /* NULL: greedy */
} rsr_pick;

/* The log-probability of a token: the natural logarithm of its part in the softmax of the logits,
 * as the head gives them. No option of rsr_sampling counts. */
typedef struct rsr_logprob {
    double logprob;
    uint32_t token;
    uint32_t rank; /* of the tokens in decreasing order of logits, lower ids first: 0 is the
                      likeliest */
} rsr_logprob;

/* Log-probabilities behind an entry. The head is read whole for them, and the logits of at most 64
 * entries are kept at a time. They have one float order: w = exp(logit - largest logit) in float32;
 * 16 sums in double, the j-th of w of the tokens 16 i + j by increasing i; the sums are added in
 * pairs 8, 4, 2 and 1 apart; logit - largest logit - log(sum) in double. */
#define RSR_MAX_TOP_LOGPROBS 1024
typedef struct rsr_logprobs {
    size_t entry;
    uint32_t token;       /* comes first; UINT32_MAX: the one that the batch picks behind the
                             entry */
    uint32_t n_top;       /* so many of the likeliest follow, of at most the vocabulary */
    rsr_logprob *results; /* [1 + n_top] */
} rsr_logprobs;

/* Ends the calls that were given it. It may be static, of a thread or of a request; it outlives the
 * calls, and is used again only after it was set to RSR_CANCEL_INIT while no call has it. */
typedef struct rsr_cancel {
    uint32_t requested; /* write it by rsr_cancel_request */
} rsr_cancel;
#define RSR_CANCEL_INIT                                                                            \
    { 0 }

/* From any thread, and from signal handlers: ends them at the next operation of a step, some ms
 * later. */
RSR_EXPORT void rsr_cancel_request(rsr_cancel *cancel);

/* Between two parts of a batch, from the thread that called: so many of its entries are evaluated,
 * but not yet in their sequences, which no call may be given now. Return false to end the call. */
typedef bool rsr_progress_fn(void *user, size_t n_done, size_t n_entries);

typedef struct rsr_batch {
    uint32_t size_bytes;
    const rsr_batch_entry *entries;
    size_t n_entries;
    float *logits;          /* [entries with want_logits][vocab], in entry order; of an embedding
                               model, and with want_states, the hidden states behind the last norm,
                               [..][hidden] */
    size_t logits_capacity; /* floats */
    const rsr_pick *picks;  /* entries ascending */
    size_t n_picks;
    uint32_t *picked;          /* [n_picks] tokens */
    const rsr_cancel *cancel;  /* NULL: nothing cancels it */
    rsr_progress_fn *progress; /* NULL: none */
    void *progress_user;
    rsr_status *statuses; /* [n_entries]; NULL: a batch succeeds or fails as a whole. Else a bad
                             token or position, a full pool or context, and numbers that are not
                             finite fail the entries of their sequence alone, which all receive the
                             status; the sequences of others are extended, their logits and picks
                             valid */
    uint32_t entry_bytes, pick_bytes; /* from one of entries and picks to the next; 0: 24 and 16, as
                                         they are. What a runtime does not know of longer ones must
                                         be 0 */
    bool want_states;        /* hidden states in place of logits, without the time that the head
                                takes; and no picks or log-probabilities */
    uint32_t logprobs_bytes; /* as entry_bytes; 0: 24 */
    const rsr_logprobs *logprobs; /* entries ascending, each once */
    size_t n_logprobs;
} rsr_batch;
#define RSR_BATCH_INIT RSR_SIZED(rsr_batch)

/* Evaluates all entries and appends them to their sequences: a prompt, one decode step of many
 * sequences and a verification are the same call. On failure, RSR_ERR_STOPPED among them, no
 * sequence has changed, but for those whose `statuses` are RSR_OK; logits, picked and
 * log-probabilities may hold what was computed before. With `statuses` the status is that of the
 * first entry that failed, and `err` says which that is and why; the logits and log-probabilities
 * of those that failed are not written, their picks are UINT32_MAX. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_eval(rsr_engine *engine, const rsr_batch *batch,
                                             rsr_error *err);

/* ---- Embeddings ------------------------------------------------------------------------------ */

typedef struct rsr_embed_options {
    uint32_t size_bytes;
    const char *pooling; /* what of a text's hidden states is its embedding: "last", "first" or
                            "mean"; NULL: as the checkpoint says, which a language model's does
                            not */
    bool keep_length;    /* not divided by their length; of an embedding model that divides none,
                            nothing changes */
    const rsr_cancel *cancel; /* NULL: nothing cancels the call */
} rsr_embed_options;
#define RSR_EMBED_OPTIONS_INIT RSR_SIZED(rsr_embed_options)

/* The embeddings of n_texts texts, text i being n_tokens[i] tokens at tokens[i]: hidden states
 * pooled and normalised, n_texts rows of rsr_model_info.hidden floats. A row depends on the tokens
 * of its text alone: the bits are those of the text by itself. Texts are evaluated together, in
 * sequences of their own that end with the call. RSR_ERR_ARGUMENT: a language model without a
 * pooling, a text without tokens, or capacity (in floats) too small; RSR_ERR_FULL: more tokens than
 * the engine's context or free KV pages hold; RSR_ERR_STOPPED: cancelled. On failure rows before
 * the text that failed may be written. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_embed(rsr_engine *engine, const uint32_t *const *tokens,
                                              const size_t *n_tokens, size_t n_texts,
                                              const rsr_embed_options *options, float *embeddings,
                                              size_t capacity, rsr_error *err);

/* ---- Sampling -------------------------------------------------------------------------------- */

typedef struct rsr_logit_bias {
    uint32_t token;
    float bias; /* of at most 1e6 in magnitude; or -infinity, which rules the token out */
} rsr_logit_bias;

/* In this order, which is vLLM's up to the temperature and that of transformers from there on:
 *   allowed             a token whose bit is 0 is ruled out
 *   logit_bias          logit + bias
 *   repeat_penalty      of a token in the window, once: logit / penalty, or logit * penalty below 0
 *   frequency_penalty   logit - penalty * times that the token was generated
 *   presence_penalty    logit - penalty, if it was
 *   temperature         logit / temperature; at 0 the largest logit is picked here
 *   top_k, top_p, min_p of what the one before leaves; min_p by the largest p, which no filter
 *   drops
 * Logits are float32 until they are divided by the temperature. */
typedef struct rsr_sampling {
    uint32_t size_bytes;
    float temperature;      /* 0: greedy (lowest id wins a tie) */
    uint32_t top_k;         /* 0: off */
    float top_p;            /* 1: off */
    float min_p;            /* 0: off; keep p >= min_p * largest p */
    float repeat_penalty;   /* 1: off; over the last repeat_window tokens */
    uint32_t repeat_window; /* 0: off */
    uint64_t seed;          /* noise is hash(seed, sequence_id, position, token) */
    uint64_t sequence_id;
    float presence_penalty, frequency_penalty; /* 0: off; of at most 1e6 in magnitude, OpenAI's go
                                                  from -2 to 2 */
    uint32_t generated_from; /* the position of the first token that counts as generated for these
                                two; in rsr_generate, 0: the first one behind the prompt */
    uint32_t allowed_words;  /* of allowed: (vocab + 31) / 32 */
    const uint32_t *allowed; /* NULL: every token. Token t is bit t % 32, from the lowest on, of
                                word t / 32; at least one bit is set, those behind the vocabulary do
                                not count. It is read anew for every token */
    const rsr_logit_bias *logit_bias; /* of several with one token the last counts */
    size_t n_logit_bias;
} rsr_sampling;
#define RSR_SAMPLING_INIT                                                                          \
    { sizeof(rsr_sampling), 0.0f, 0, 1.0f, 0.0f, 1.0f, 64, 0, 0, 0.0f, 0.0f, 0, 0, NULL, NULL, 0 }

/* Picks the token that follows `history` (n_history tokens; its length is the position). Logits are
 * not changed; one of -infinity rules its token out. RSR_ERR_NUMERIC if a logit is NaN or infinity,
 * or all are ruled out; RSR_ERR_ARGUMENT if an option is out of range. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_sample(const rsr_model *model, const rsr_sampling *sampling,
                                               const float *logits, const uint32_t *history,
                                               size_t n_history, uint32_t *token, rsr_error *err);

/* ---- Generation ------------------------------------------------------------------------------ */

/* One generated token, a stop token included. text is complete UTF-8, without special and stop
 * tokens; it may be empty while later tokens decide what a character is, or whether a stop string
 * has begun, and lives until the callback returns. Return false to stop. */
typedef struct rsr_generated {
    uint32_t size_bytes;
    uint32_t token;
    const char *text;
    size_t text_bytes;
    const rsr_logprob *logprobs; /* with rsr_generate_options.logprobs: the token's, then those of
                                    the likeliest; they live as long as text. NULL: none */
    size_t n_logprobs;
} rsr_generated;
typedef bool rsr_generate_fn(void *user, const rsr_generated *generated);

/* Logits behind `tokens`, which may be changed in place: -infinity rules a token out. Options of
 * rsr_sampling are applied to what it leaves. Return false to stop. */
typedef bool rsr_logits_fn(void *user, const uint32_t *tokens, size_t n_tokens, float *logits,
                           size_t n_logits);

typedef struct rsr_generate_options {
    uint32_t size_bytes;
    uint32_t max_tokens;     /* 0: 128 */
    uint32_t tokenize_flags; /* for the prompt; default RSR_TOKENIZE_ADD_SPECIAL, which counts only
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
    const char *const *stop_strings; /* texts that end the generation, not empty, wherever their
                                        letters lie in tokens; what a callback gets ends before the
                                        one that is complete first (the longest of several). The
                                        prompt has no part in them */
    uint32_t n_stop_strings;
    uint32_t n_top_logprobs; /* see logprobs */
    rsr_logits_fn *logits; /* called before each pick, for which the head is then read whole; NULL:
                              none */
    void *logits_user;
    rsr_generate_fn *prompt_token; /* called as the callback is, before it, with every token of the
                                      prompt, no text, and with `logprobs` what the tokens before it
                                      say of the token: of the prompt's first one nothing; NULL:
                                      none */
    bool logprobs;       /* rsr_generated.logprobs are there, of the token and the n_top_logprobs
                            likeliest (at most RSR_MAX_TOP_LOGPROBS): as in rsr_logprobs, before
                            `logits` changes any */
    uint8_t reserved[7]; /* 0: a runtime that is too old for these members refuses any byte that is
                            set */
} rsr_generate_options;
#define RSR_GENERATE_OPTIONS_INIT                                                                  \
    {                                                                                              \
        sizeof(rsr_generate_options), 0, RSR_TOKENIZE_ADD_SPECIAL, NULL, NULL, 0, false, NULL, 0,  \
            NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, false, {                               \
            0                                                                                      \
        }                                                                                          \
    }

typedef enum rsr_stop_reason {
    RSR_STOP_LENGTH,   /* max_tokens */
    RSR_STOP_TOKEN,    /* a stop token */
    RSR_STOP_CONTEXT,  /* the engine's context is full */
    RSR_STOP_CALLBACK, /* it returned false, or progress, logits or prompt_token did */
    RSR_STOP_STRING,   /* a stop string */
    RSR_STOP_CANCELLED /* rsr_cancel_request */
} rsr_stop_reason;

typedef struct rsr_generate_result {
    uint32_t size_bytes;
    uint32_t prompt_tokens, tokens;
    uint64_t prefill_ns, decode_ns;
    rsr_stop_reason stop_reason;
} rsr_generate_result;
#define RSR_GENERATE_RESULT_INIT RSR_SIZED(rsr_generate_result)

/* Appends the prompt to the sequence and generates. The last token produced is not yet in the
 * sequence: to go on after it, begin the next call's prompt_tokens with it. Sampling is rsr_sample
 * with the whole sequence as history, whoever evaluated it. A callback that stops, and a cancelled
 * call, are no failures: the status is RSR_OK, and `result` says what stopped; while the prompt was
 * evaluated, nothing of it is in the sequence. On failure the sequence holds what was evaluated.
 * callback and result may be NULL. The callbacks change no sequence that is being generated. */
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
