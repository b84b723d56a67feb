/* rsr_run_main.c - where rsr-run begins. */
#include "rsr_run.h"

int main(int argc, char **argv) {
    return argc < 1 ? 1 : run_main(argv + 1, NULL);
}
