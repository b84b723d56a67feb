/* tables_llvm.c - the description of a module's tables (emit/module/tables.h) as constants of LLVM.
 *
 * A table is a packed struct of its bytes, with pointers between them where rows have addresses:
 * LLVM need not know what the members are. Texts are private constants, which linkers merge.
 */
#include "emit/llvm/tables_llvm.h"

#include <string.h>

struct maker {
    const struct rsrc_tables *tables;
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    LLVMTypeRef i8, i32, pointer;
};

/* ---- symbols --------------------------------------------------------------------------------- */

static LLVMValueRef find_symbol(const struct maker *m, const char *symbol) {
    LLVMValueRef global = LLVMGetNamedGlobal(m->module, symbol);
    return global != NULL ? global : LLVMGetNamedFunction(m->module, symbol);
}

/* Hidden, as what is linked into the module is: its address needs no table of addresses. */
static void declare(const struct maker *m, const struct rsrc_declaration *declaration) {
    LLVMTypeRef function = LLVMFunctionType(LLVMVoidTypeInContext(m->context), NULL, 0, false);
    LLVMValueRef global = declaration->what == RSRC_DECLARED_FUNCTION
                              ? LLVMAddFunction(m->module, declaration->symbol, function)
                              : LLVMAddGlobal(m->module, m->i8, declaration->symbol);
    LLVMSetVisibility(global, LLVMHiddenVisibility);
}

static LLVMValueRef make_text(const struct maker *m, const char *text) {
    const uint32_t n_bytes = (uint32_t)strlen(text);
    LLVMValueRef bytes = LLVMConstStringInContext(m->context, text, n_bytes, false);
    LLVMValueRef global = LLVMAddGlobal(m->module, LLVMTypeOf(bytes), "text");
    LLVMSetInitializer(global, bytes);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    LLVMSetUnnamedAddress(global, LLVMGlobalUnnamedAddr);
    LLVMSetGlobalConstant(global, true);
    LLVMSetAlignment(global, 1);
    return global;
}

static LLVMValueRef make_address(const struct maker *m, const struct rsrc_field *field) {
    if (field->kind == RSRC_FIELD_TEXT)
        return make_text(m, field->text);
    LLVMValueRef symbol = find_symbol(m, field->text);
    if (field->offset == 0)
        return symbol;
    LLVMValueRef n_bytes =
        LLVMConstInt(LLVMInt64TypeInContext(m->context), field->offset * field->size_of_one, false);
    return LLVMConstGEP2(m->i8, symbol, &n_bytes, 1);
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* The parts of a table: bytes, and addresses between them. */
struct image {
    LLVMValueRef *parts;
    uint32_t n_parts, capacity;
    struct rsrc_buffer bytes; /* after the last address */
};

static void add_part(const struct maker *m, struct image *image, LLVMValueRef part) {
    image->parts = rsrc_arena_grown(m->tables->arena, image->parts, image->n_parts,
                                    &image->capacity, sizeof(*image->parts));
    image->parts[image->n_parts++] = part;
}

static void end_bytes(const struct maker *m, struct image *image) {
    if (image->bytes.size_bytes != 0)
        add_part(m, image,
                 LLVMConstStringInContext(m->context, image->bytes.data,
                                          (uint32_t)image->bytes.size_bytes, true));
    rsrc_buffer_clear(&image->bytes);
}

static void add_zeros(struct image *image, uint64_t n_bytes) {
    static const char ZEROS[256];
    for (uint64_t n; n_bytes != 0; n_bytes -= n) {
        n = n_bytes < sizeof(ZEROS) ? n_bytes : sizeof(ZEROS);
        rsrc_buffer_append(&image->bytes, ZEROS, n);
    }
}

static void add_row(const struct maker *m, const struct rsrc_table *table,
                    const struct rsrc_row *row, struct image *image) {
    uint64_t at = 0;
    for (uint32_t i = 0; i < row->n_fields; i++) {
        const struct rsrc_field *field = &row->fields[i];
        const uint64_t n_bytes = field->n * field->size_bytes;
        add_zeros(image, field->at - at);
        at = field->at + n_bytes;
        if (field->bytes != NULL) {
            rsrc_buffer_append(&image->bytes, field->bytes, n_bytes);
        } else if (field->text == NULL) {
            add_zeros(image, n_bytes);
        } else {
            end_bytes(m, image);
            add_part(m, image, make_address(m, field));
        }
    }
    add_zeros(image, table->row_bytes - at);
}

static void add_table(const struct maker *m, const struct rsrc_table *table) {
    struct image image = {0};
    for (uint32_t r = 0; r < table->n_rows; r++)
        add_row(m, table, &table->rows[r], &image);
    end_bytes(m, &image);
    rsrc_buffer_free(&image.bytes);
    LLVMValueRef contents = LLVMConstStructInContext(m->context, image.parts, image.n_parts, true);
    LLVMValueRef global = LLVMAddGlobal(m->module, LLVMTypeOf(contents), table->symbol);
    LLVMSetInitializer(global, contents);
    LLVMSetLinkage(global, LLVMInternalLinkage);
    LLVMSetGlobalConstant(global, !table->is_variable);
    LLVMSetAlignment(global, table->align);
    if (table->section != NULL)
        LLVMSetSection(global, table->section);
}

/* ---- functions ------------------------------------------------------------------------------- */

static LLVMValueRef begin_function(const struct maker *m, const char *symbol, LLVMTypeRef type) {
    LLVMValueRef function = LLVMAddFunction(m->module, symbol, type);
    LLVMPositionBuilderAtEnd(m->builder,
                             LLVMAppendBasicBlockInContext(m->context, function, "entry"));
    return function;
}

/* max_abi < RSR_ABI_VERSION ? NULL : &module */
static void add_query(const struct maker *m) {
    LLVMTypeRef parameters[] = {m->i32, m->pointer};
    LLVMValueRef function =
        begin_function(m, "rsr_module_query", LLVMFunctionType(m->pointer, parameters, 2, false));
    LLVMValueRef version = LLVMConstInt(m->i32, RSR_ABI_VERSION, false);
    LLVMValueRef is_old =
        LLVMBuildICmp(m->builder, LLVMIntULT, LLVMGetParam(function, 0), version, "is_old");
    LLVMBuildRet(m->builder, LLVMBuildSelect(m->builder, is_old, LLVMConstNull(m->pointer),
                                             find_symbol(m, m->tables->module), "module"));
}

static LLVMTypeRef argument_type(const struct maker *m, const struct rsrc_argument *argument) {
    return argument->type[strlen(argument->type) - 1] == '*'
               ? m->pointer
               : LLVMIntTypeInContext(m->context, 8 * argument->size_bytes);
}

static LLVMTypeRef call_type(const struct maker *m, const struct rsrc_call *call) {
    LLVMTypeRef *types = RSRC_NEW_ARRAY(m->tables->arena, call->n_arguments, LLVMTypeRef);
    uint32_t n = 0;
    for (uint32_t i = 0; i < call->n_arguments; i++)
        if (call->arguments[i].is_passed)
            types[n++] = argument_type(m, &call->arguments[i]);
    return LLVMFunctionType(m->i32, types, n, false);
}

static LLVMValueRef fill_call(const struct maker *m, const struct rsrc_call *call,
                              LLVMValueRef function) {
    LLVMTypeRef bytes = LLVMArrayType2(m->i8, sizeof(struct rsr_matrix_call));
    LLVMValueRef filled = LLVMBuildAlloca(m->builder, bytes, "call");
    LLVMSetAlignment(filled, _Alignof(struct rsr_matrix_call));
    uint32_t n = 0;
    for (uint32_t i = 0; i < call->n_arguments; i++) {
        const struct rsrc_argument *argument = &call->arguments[i];
        LLVMValueRef value = argument->is_passed
                                 ? LLVMGetParam(function, n++)
                                 : LLVMConstInt(argument_type(m, argument), argument->value, false);
        LLVMValueRef at = LLVMConstInt(m->i32, argument->at, false);
        LLVMBuildStore(m->builder, value,
                       LLVMBuildGEP2(m->builder, m->i8, filled, &at, 1, argument->name));
    }
    return filled;
}

static void add_call(const struct maker *m, const struct rsrc_call *call, LLVMTypeRef runtime_type,
                     LLVMValueRef runtime) {
    LLVMValueRef function = begin_function(m, call->symbol, call_type(m, call));
    LLVMValueRef arguments[] = {find_symbol(m, call->library),
                                LLVMConstInt(m->i32, call->entry, false),
                                fill_call(m, call, function)};
    LLVMBuildRet(m->builder,
                 LLVMBuildCall2(m->builder, runtime_type, runtime, arguments, 3, "status"));
}

static void add_calls(const struct maker *m) {
    LLVMTypeRef parameters[] = {m->pointer, m->i32, m->pointer};
    LLVMTypeRef type = LLVMFunctionType(m->i32, parameters, 3, false);
    if (m->tables->n_calls == 0)
        return;
    LLVMValueRef runtime = LLVMAddFunction(m->module, "rsr_multiply_matrix", type);
    LLVMSetVisibility(runtime, LLVMHiddenVisibility);
    for (uint32_t i = 0; i < m->tables->n_calls; i++)
        add_call(m, &m->tables->calls[i], type, runtime);
}

void rsrc_llvm_add_tables(LLVMModuleRef module, LLVMBuilderRef builder,
                          const struct rsrc_tables *tables) {
    LLVMContextRef context = LLVMGetModuleContext(module);
    const struct maker m = {.tables = tables,
                            .context = context,
                            .module = module,
                            .builder = builder,
                            .i8 = LLVMInt8TypeInContext(context),
                            .i32 = LLVMInt32TypeInContext(context),
                            .pointer = LLVMPointerTypeInContext(context, 0)};
    for (uint32_t i = 0; i < tables->n_declarations; i++)
        declare(&m, &tables->declarations[i]);
    for (uint32_t i = 0; i < tables->n_tables; i++)
        add_table(&m, &tables->tables[i]);
    if (tables->module != NULL)
        add_query(&m);
    add_calls(&m);
}
