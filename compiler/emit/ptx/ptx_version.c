/* ptx_version.c - the versions of PTX that targets, directives and instructions came with.
 *
 * A driver refuses PTX of a version that is newer than itself, and a compiler states its own newest
 * version, whatever it has used: NVRTC 13 says 9.0 for what every driver since 2020 could assemble.
 * The tables are those of the PTX manual's sections "PTX ISA Notes", as ptxas 13.0 enforces them.
 */
#include "emit/ptx/ptx_version.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
    uint32_t sm, version;
} TARGETS[] = {{80, 70},  {86, 71},  {87, 74},  {89, 78},  {90, 78},
               {100, 86}, {103, 88}, {110, 90}, {120, 87}, {121, 88}};

/* Words of directives and instructions: their names, and what follows a dot in them. PTX 7.0 is the
 * lowest version that has one of the targets, so words of earlier versions have it. */
static const struct {
    uint32_t version;
    const char *words; /* between spaces */
} WORDS[] = {
    {70,
     " version target address_size visible entry func param ptr align reg shared local global "
     "const maxntid minnctapersm pragma nounroll "
     "pred b8 b16 b32 b64 u8 u16 u32 u64 s8 s16 s32 s64 f32 f64 v2 v4 "
     "fence acq_rel gpu atom inc "
     "add sub mul mad neg abs min max div rem and or xor not shl shr shf lop3 bfe bfi prmt dp4a "
     "mma aligned m16n8k32 row col "
     "clz popc brev fma sqrt rcp selp setp mov ld st cvt cvta bra ret exit bar shfl redux vote "
     "lo hi wide sync bfly idx up down ballot all any uni to nc volatile l r wrap clamp "
     "rn rz rm rp rni rzi rmi rpi sat eq ne lt le gt ge ltu leu gtu geu equ neu num nan "},
    {74, " L1::no_allocate L2::128B L2::256B "},
    {78, " griddepcontrol wait launch_dependents "},
    {83, " used_bytes_mask "},
};

uint32_t rsrc_ptx_version_of_target(uint32_t sm) {
    for (size_t i = 0; i < N(TARGETS); i++)
        if (TARGETS[i].sm == sm)
            return TARGETS[i].version;
    return 0;
}

static uint32_t version_of_word(const char *word, size_t n) {
    char spaced[40];
    if (n + 3 > sizeof(spaced))
        return 0;
    snprintf(spaced, sizeof(spaced), " %.*s ", (int)n, word);
    for (size_t i = 0; i < N(WORDS); i++)
        if (strstr(WORDS[i].words, spaced) != NULL)
            return WORDS[i].version;
    return 0;
}

/* The version of "ld.global.nc.v4.u32" or ".reg", a part at a time; 0: some part is unknown. */
static uint32_t version_of_parts(const char *parts, size_t n) {
    uint32_t highest = 0;
    for (size_t at = parts[0] == '.', end; at < n; at = end + 1) {
        for (end = at; end < n && parts[end] != '.'; end++) {
        }
        const uint32_t version = version_of_word(parts + at, end - at);
        if (version == 0)
            return 0;
        highest = version > highest ? version : highest;
    }
    return highest;
}

/* Whether a statement, or the text of a pragma, may begin after this place. A brace can also close
 * a list of registers, between commas. */
static bool ends_statement(const char *at) {
    return strchr(";{\n\"", *at) != NULL || (*at == '}' && at[1] != ',');
}

/* Goes to the next word: letters, digits, and what names and registers have. Returns its length, 0
 * at the end. Comments are not words. */
static size_t find_word(const char **at, bool *begins) {
    static const char LETTERS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  "._:$%@!";
    for (;; (*at)++) {
        if ((*at)[0] == '/' && (*at)[1] == '/')
            *at += strcspn(*at, "\n");
        const size_t n = strspn(*at, LETTERS);
        if (n != 0 || **at == '\0')
            return n;
        *begins |= ends_statement(*at);
    }
}

uint32_t rsrc_ptx_version_of_text(const char *text) {
    uint32_t highest = 0;
    bool begins = true;
    for (size_t n; (n = find_word(&text, &begins)) != 0; text += n) {
        /* "$L__BB0_2:" and "@%p1" come before the instruction of a statement. */
        if (text[n - 1] == ':' || text[0] == '@')
            continue;
        const bool is_name = begins && isalpha((unsigned char)text[0]);
        begins = false;
        if (!is_name && (text[0] != '.' || isdigit((unsigned char)text[1])))
            continue;
        const uint32_t version = version_of_parts(text, n);
        if (version == 0)
            return 0;
        highest = version > highest ? version : highest;
    }
    return highest;
}
