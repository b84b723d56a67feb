/* tables.h - the constant tables of a module (rsr_abi.h), described once for all back ends.
 *
 * A description is a list of rows; a row is a struct of the ABI. Its members are put once each, in
 * any order. The member gives the name that C prints, and the place and size of its bytes:
 *
 *     RSRC_TABLE(tables, struct rsr_norm, "norms");
 *     rsrc_begin_row(tables, "model.norm");
 *     RSRC_PUT(tables, rsr_norm, name, "final_norm");   // text
 *     RSRC_PUT(tables, rsr_norm, weight, "rsr_w_norm"); // the address of that symbol
 *     RSRC_PUT(tables, rsr_norm, cols, 2560);           // a number
 *
 * Members that are left out are 0. An address is of a symbol that is declared or described before.
 * emit/c/tables_c.c prints a description as C, and
 * emit/llvm/tables_llvm.c makes an object of it. Everything belongs to the arena, strings are
 * borrowed. Not thread-safe.
 */
#ifndef RSRC_EMIT_MODULE_TABLES_H
#define RSRC_EMIT_MODULE_TABLES_H

#include "ir.h"

enum rsrc_field_kind {
    RSRC_FIELD_NUMBERS, /* integers; C prints those of one byte in hexadecimal */
    RSRC_FIELD_FLOATS,
    RSRC_FIELD_CHARS,  /* an array that begins with a text */
    RSRC_FIELD_TEXT,   /* a pointer to a text; untrusted */
    RSRC_FIELD_POINTER /* the address of a symbol */
};

/* A member of a row, or the elements of a table of numbers. */
struct rsrc_field {
    enum rsrc_field_kind kind;
    const char *name;     /* "weights.codes"; NULL: elements of a table of numbers */
    uint64_t at;          /* bytes from the start of the row */
    uint64_t n;           /* elements: 1, unless the member is an array */
    uint32_t size_bytes;  /* of an element */
    const void *bytes;    /* [n][size_bytes] of numbers, floats and chars, as in memory */
    const char *text;     /* TEXT, or POINTER: a symbol. NULL: the null pointer */
    uint64_t offset;      /* POINTER: in elements of `size_of_one` bytes */
    uint32_t size_of_one; /* POINTER with an offset */
    bool is_cast;         /* POINTER: to something else than the symbol's elements */
    const char *spelling; /* of a number: how C writes it, "RSR_ABI_VERSION"; NULL: in digits */
    const char *comment;  /* above the member; untrusted. NULL: none */
};

struct rsrc_row {
    const char *comment; /* untrusted. NULL: none */
    struct rsrc_field *fields;
    uint32_t n_fields, capacity;
};

struct rsrc_table {
    const char *symbol;    /* local to the object */
    const char *type;      /* of a row in C: "struct rsr_norm" */
    const char *comment;   /* above the table; trusted. NULL: none */
    const char *attribute; /* in C, of its section; NULL: none */
    const char *section;   /* NULL: the usual one */
    uint64_t row_bytes;
    uint32_t align;
    bool is_array;
    bool is_variable; /* written at run time */
    bool is_terse;    /* C prints rows without the names of members, of which none is left out */
    struct rsrc_row *rows;
    uint32_t n_rows, capacity;
};

/* A symbol of another object. */
struct rsrc_declaration {
    const char *symbol, *type; /* "const float" */
    enum rsrc_declared { RSRC_DECLARED_ARRAY, RSRC_DECLARED_OBJECT, RSRC_DECLARED_FUNCTION } what;
};

/* An argument of a function, and the member of struct rsr_matrix_call that gets it. */
struct rsrc_argument {
    const char *type, *name; /* "const int8_t *", "x" */
    bool is_passed;          /* false: the member is `value` */
    uint32_t value;
    uint32_t at, size_bytes; /* of the member */
};

/* An exported function that fills a struct rsr_matrix_call and calls rsr_multiply_matrix() with
 * it. */
struct rsrc_call {
    const char *symbol;
    const struct rsrc_argument *arguments;
    uint32_t n_arguments;
    const char *library; /* a table */
    uint32_t entry;
};

struct rsrc_tables {
    struct rsrc_arena *arena;
    const char *head;   /* of the C text: a comment, and what is included */
    const char *module; /* the table that rsr_module_query() returns; NULL: there is no query */
    struct rsrc_declaration *declarations;
    struct rsrc_table *tables;
    struct rsrc_call *calls;
    uint32_t n_declarations, n_tables, n_calls;
    uint32_t declarations_capacity, tables_capacity, calls_capacity;
    struct rsrc_symbol_slot {
        const char *symbol; /* NULL: free */
        bool is_array;      /* C writes its address without & */
    } * slots;              /* a hash table of all symbols: more than half of it is free */
    uint32_t n_slots, n_symbols;
    const char *next_comment; /* of the next member */
};

void rsrc_tables_init(struct rsrc_arena *arena, struct rsrc_tables *out);

/* Symbols that are declared again stay as they are; a NULL symbol is ignored. */
void rsrc_declare(struct rsrc_tables *tables, enum rsrc_declared what, const char *type,
                  const char *symbol);
/* The rows, members and elements that follow belong to this table. */
struct rsrc_table *rsrc_begin_table(struct rsrc_tables *tables, const struct rsrc_table *table);
void rsrc_begin_row(struct rsrc_tables *tables, const char *comment);
/* A comment above the next member. */
void rsrc_comment_member(struct rsrc_tables *tables, const char *comment);
void rsrc_add_call(struct rsrc_tables *tables, const struct rsrc_call *call);
/* Whether C writes a symbol's address without &. */
bool rsrc_is_array(const struct rsrc_tables *tables, const char *symbol);

/* An array of rows, and a single struct, whose row begins here. */
#define RSRC_TABLE(tables, c_type, name)                                                           \
    rsrc_begin_table((tables), &(struct rsrc_table){.symbol = (name),                              \
                                                    .type = #c_type,                               \
                                                    .row_bytes = sizeof(c_type),                   \
                                                    .align = _Alignof(c_type),                     \
                                                    .is_array = true})
#define RSRC_STRUCT(tables, c_type, name)                                                          \
    rsrc_begin_table((tables), &(struct rsrc_table){.symbol = (name),                              \
                                                    .type = #c_type,                               \
                                                    .row_bytes = sizeof(c_type),                   \
                                                    .align = _Alignof(c_type)})

/* Where a member is. */
struct rsrc_member {
    const char *name, *spelling;
    uint64_t at, size_bytes;
    uint32_t size_of_one; /* what it points to; 0: void, or no pointer */
    bool is_cast;         /* as in struct rsrc_field */
};
#define RSRC_MEMBER(type, member)                                                                  \
    (&(struct rsrc_member){.name = #member,                                                        \
                           .at = offsetof(struct type, member),                                    \
                           .size_bytes = sizeof(((struct type *)0)->member)})

void rsrc_table_put_number(struct rsrc_tables *tables, const struct rsrc_member *member,
                           uint64_t value);
/* A number of bits, which C prints in hexadecimal. */
void rsrc_table_put_mask(struct rsrc_tables *tables, const struct rsrc_member *member,
                         uint64_t value);
void rsrc_table_put_float(struct rsrc_tables *tables, const struct rsrc_member *member,
                          float value);
void rsrc_table_put_bytes(struct rsrc_tables *tables, const struct rsrc_member *member,
                          const uint8_t *values);
void rsrc_table_put_shorts(struct rsrc_tables *tables, const struct rsrc_member *member,
                           const uint16_t *values);
/* Copies the text, which must fit the array. */
void rsrc_table_put_chars(struct rsrc_tables *tables, const struct rsrc_member *member,
                          const char *text);
void rsrc_table_put_text(struct rsrc_tables *tables, const struct rsrc_member *member,
                         const char *text);
void rsrc_table_put_pointer(struct rsrc_tables *tables, const struct rsrc_member *member,
                            const char *symbol);
void rsrc_table_put_element(struct rsrc_tables *tables, const struct rsrc_member *member,
                            const char *symbol, uint64_t element);

/* The address of a byte of an array of bytes, whatever the member points to. */
void rsrc_table_put_byte(struct rsrc_tables *tables, const struct rsrc_member *member,
                         const char *symbol, uint64_t byte);

/* The member's type decides what the value is. */
#define RSRC_PUT(tables, type, member, value)                                                      \
    _Generic(((struct type *)0)->member,                                                           \
        uint64_t: rsrc_table_put_number,                                                           \
        uint32_t: rsrc_table_put_number,                                                           \
        uint16_t: rsrc_table_put_number,                                                           \
        float: rsrc_table_put_float,                                                               \
        uint8_t *: rsrc_table_put_bytes,                                                           \
        uint16_t *: rsrc_table_put_shorts,                                                         \
        char *: rsrc_table_put_chars,                                                              \
        const char *: rsrc_table_put_text,                                                         \
        default: rsrc_table_put_pointer)((tables), RSRC_MEMBER(type, member), (value))
#define RSRC_PUT_MASK(tables, type, member, value)                                                 \
    rsrc_table_put_mask((tables), RSRC_MEMBER(type, member), (value))
/* A number that C spells as it is spelled here. */
#define RSRC_PUT_SPELLED(tables, type, member, value)                                              \
    rsrc_table_put_number((tables),                                                                \
                          &(struct rsrc_member){.name = #member,                                   \
                                                .spelling = #value,                                \
                                                .at = offsetof(struct type, member),               \
                                                .size_bytes = sizeof(((struct type *)0)->member)}, \
                          (value))
/* The address of an element of an array. */
#define RSRC_PUT_ELEMENT(tables, type, member, symbol, element)                                    \
    rsrc_table_put_element(                                                                        \
        (tables),                                                                                  \
        &(struct rsrc_member){.name = #member,                                                     \
                              .at = offsetof(struct type, member),                                 \
                              .size_bytes = sizeof(((struct type *)0)->member),                    \
                              .size_of_one = sizeof(*((struct type *)0)->member)},                 \
        (symbol), (element))

#define RSRC_PUT_BYTE(tables, type, member, symbol, byte)                                          \
    rsrc_table_put_byte((tables), RSRC_MEMBER(type, member), (symbol), (byte))

/* Tables of numbers alone. */
void rsrc_add_floats(struct rsrc_tables *tables, const char *symbol, const char *comment,
                     const float *values, uint64_t n);
void rsrc_add_numbers(struct rsrc_tables *tables, const char *symbol, const uint32_t *values,
                      uint64_t n);

#endif
