/* Opens one module after another under the same name, like a server that loads a new model.
 *     reopen_module NAME FILE...
 * Renames each FILE to NAME, opens it, and prints its name and its vocabulary's size. Earlier
 * modules stay open. */
#include <inttypes.h>
#include <stdio.h>

#include "rsr.h"

int main(int argc, char **argv) {
    for (int i = 2; i < argc; i++) {
        rsr_error err = RSR_ERROR_INIT;
        rsr_model_info info = RSR_MODEL_INFO_INIT;
        rsr_model *model = NULL;
        if (rename(argv[i], argv[1]) != 0 || rsr_open(argv[1], NULL, &model, &err) != RSR_OK ||
            rsr_model_get_info(model, &info) != RSR_OK) {
            printf("%s\n", err.message);
            return 1;
        }
        printf("%s %" PRIu32 "\n", info.name, info.vocab);
    }
    return 0;
}
