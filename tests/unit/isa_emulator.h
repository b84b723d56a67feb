/* isa_emulator.h - runs instructions that the host's processor lacks, one trap at a time.
 *
 * After isa_emulator_install(), an illegal instruction of the following kinds is computed in
 * software on the interrupted thread's registers, and execution continues after it: AVX-512 VBMI's
 * vpermb, vpermi2b and vpermt2b, GFNI's vgf2p8affineqb (VEX and EVEX, masks, memory operands), the
 * byte products of AVX-VNNI and AVX-VNNI-INT8, and AMX's tiles with int8 products. Tests of emitted
 * machine code then have results on machines that cannot run it; a trap costs microseconds. Any
 * other illegal instruction, also an encoding of these instructions that no processor accepts, is
 * reported on stderr and ends the process as before. x86-64 Linux with AVX-512 state only.
 */
#ifndef TESTS_UNIT_ISA_EMULATOR_H
#define TESTS_UNIT_ISA_EMULATOR_H

#include <stdbool.h>
#include <stdint.h>

/* False where the host cannot (another architecture, no AVX-512 registers): nothing is
 * installed. */
bool isa_emulator_install(void);
/* Instructions emulated so far. */
uint64_t isa_emulator_count(void);

#endif
