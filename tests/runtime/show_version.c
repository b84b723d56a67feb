/* show_version.c - prints the versions of rsr.h, of rsrc.h and of the librsr that is linked. */
#include <rsr.h>
#include <rsrc.h>
#include <stdio.h>

int main(void) {
    printf("rsr.h %d.%d.%d\n", RSR_VERSION_MAJOR, RSR_VERSION_MINOR, RSR_VERSION_PATCH);
    printf("rsrc.h %d.%d.%d\n", RSRC_VERSION_MAJOR, RSRC_VERSION_MINOR, RSRC_VERSION_PATCH);
    printf("librsr %s\n", rsr_version());
    return 0;
}
