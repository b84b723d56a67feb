// codes.cuh - unpacks 16 bytes of codes into operands of __dp4a.
//
// A code is weight + 1: 0, 1 or 2. One 32-bit word holds groups of four codes, one in each byte's
// place; unpack() puts group g of a word into groups[g]. kernels/matvec/matvec.h says which
// column a code belongs to.
#pragma once

namespace rsr {

enum codes { BITS2, BASE3 };

template <codes CODES> struct codec;

// Group g is in bits 2g, 2g + 1 of every byte: one shift and one mask per group.
template <> struct codec<BITS2> {
    enum : unsigned { GROUPS = 4 };

    static __device__ __forceinline__ void unpack(unsigned word, unsigned (&groups)[GROUPS]) {
#pragma unroll
        for (unsigned g = 0; g < GROUPS; g++)
            groups[g] = word >> 2 * g & 0x03030303u;
    }
};

// A byte is ceil(v * 256 / 243) for the number v of five digits to base 3. Multiplying it by 3
// carries the first digit out into the next byte, and the rest stays. So even and odd bytes are
// processed in 16-bit fields, in a word each.
template <> struct codec<BASE3> {
    enum : unsigned { GROUPS = 5 };

    static __device__ __forceinline__ void unpack(unsigned word, unsigned (&groups)[GROUPS]) {
        unsigned even = word & 0x00ff00ffu;
        unsigned odd = word >> 8 & 0x00ff00ffu;
#pragma unroll
        for (unsigned g = 0; g < GROUPS; g++) {
            even *= 3;
            odd *= 3;
            groups[g] =
                __byte_perm(even, odd, 0x7351); // their carries, back in the order of the bytes
            even &= 0x00ff00ffu;
            odd &= 0x00ff00ffu;
        }
    }
};

} // namespace rsr
