/* embed_compiler.c - compiles INPUT to OUTPUT through rsrc.h as it is installed. */
#include <rsrc.h>

int main(int argc, char **argv) {
    struct rsrc_options options;
    if (argc != 3)
        return RSRC_EXIT_ERROR;
    rsrc_options_init(&options);
    options.input = argv[1];
    options.output = argv[2];
    options.target = "generic";
    return rsrc_compile(&options, stderr);
}
