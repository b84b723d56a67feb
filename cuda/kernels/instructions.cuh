// instructions.cuh - instructions that CUDA C++ has no function for. The emulation on the host
// defines its own.
#pragma once

#ifdef __CUDA_ARCH__
namespace rsr {

// Dependent launches, of sm_90 and later: a kernel begins while those before it still run. Only
// after wait_for_launches(), which every thread calls, may it read what they write, and write what
// they read or write. allow_next() lets the next kernel begin.
static __device__ __forceinline__ void allow_next() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
static __device__ __forceinline__ void wait_for_launches() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// What a block tells others of its launch: it writes, comes to a barrier, and then one thread
// executes fence_device() and count_up(). The block whose count_up() finds that the others have
// counted executes fence_device() again and comes to a barrier; then it reads what they wrote.
static __device__ __forceinline__ void fence_device() {
    asm volatile("fence.acq_rel.gpu;" ::: "memory");
}
// Adds 1 to the counter; after `most` it is 0. Returns what it was.
static __device__ __forceinline__ unsigned count_up(unsigned *counter, unsigned most) {
    unsigned before;
    asm volatile("atom.global.inc.u32 %0, [%1], %2;"
                 : "=r"(before)
                 : "l"(counter), "r"(most)
                 : "memory");
    return before;
}

// Loads from global memory. Clang would load some members, then the others.
static __device__ __forceinline__ uint4 load_words(const uint4 *p) {
#ifdef __clang__
    uint4 v;
    asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p)
                 : "memory");
    return v;
#else
    return *p;
#endif
}
static __device__ __forceinline__ uint2 load_words(const uint2 *p) {
    return *p;
}

// The bits of a double, and the double of bits.
static __device__ __forceinline__ unsigned long long double_bits(double x) {
    unsigned long long bits;
    asm("mov.b64 %0, %1;" : "=l"(bits) : "d"(x));
    return bits;
}
static __device__ __forceinline__ double double_of_bits(unsigned long long bits) {
    double x;
    asm("mov.b64 %0, %1;" : "=d"(x) : "l"(bits));
    return x;
}

// Byte i of a word, with its sign in the other bytes. (__byte_perm copies no signs.)
static __device__ __forceinline__ int signed_byte(unsigned word, unsigned i) {
    int r;
    asm("prmt.b32 %0, %1, 0, %2;" : "=r"(r) : "r"(word), "r"(0x8880u + 0x1111u * i));
    return r;
}

// c + the products of four unsigned bytes and four signed ones.
static __device__ __forceinline__ int dp4a_us(unsigned a, unsigned b, int c) {
    int r;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
}

// d += A B: A has 16 rows and 32 columns of unsigned bytes, B 32 rows and 8 columns of signed ones.
// With g = lane / 4 and t = lane % 4, a lane has, of A, columns 4t .. 4t + 3 of rows g and g + 8
// (a[0], a[1]), and columns 16 + 4t .. of the same rows (a[2], a[3]); of B, rows 4t .. 4t + 3 (b0)
// and 16 + 4t .. (b1) of column g; of d, columns 2t and 2t + 1 of row g (d[0], d[1]) and of row
// g + 8 (d[2], d[3]).
static __device__ __forceinline__ void mma_us(int (&d)[4], const unsigned (&a)[4], unsigned b0,
                                              unsigned b1) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

} // namespace rsr
#endif
