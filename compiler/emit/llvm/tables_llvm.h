/* tables_llvm.h - makes an object of the tables and functions of a module, without a C compiler. */
#ifndef RSRC_EMIT_LLVM_TABLES_LLVM_H
#define RSRC_EMIT_LLVM_TABLES_LLVM_H

#include <llvm-c/Core.h>

#include "emit/module/tables.h"

/* Adds them to a module whose data layout is set. */
void rsrc_llvm_add_tables(LLVMModuleRef module, LLVMBuilderRef builder,
                          const struct rsrc_tables *tables);

#endif
