// codes.cuh - unpacks words of codes into operands of four bytes.
//
// A code is weight + 1: 0, 1 or 2. One 32-bit word holds GROUPS groups of four codes, one in each
// byte's place. next() gives one group after another. With SHIFTED, group g is shifted left by
// shift(g) bits, which saves the instruction that shifts it back: sums of shifted codes are shifted
// once, at the end. kernels/matvec/matvec.h says which column a code belongs to.
#pragma once

namespace rsr {

enum codes { BITS2, BASE3 };

template <codes CODES, bool SHIFTED> class codec;

// Group g is in bits 2g, 2g + 1 of every byte.
template <bool SHIFTED> class codec<BITS2, SHIFTED> {
  public:
    enum : unsigned { GROUPS = 4, SHIFTS = SHIFTED ? 4 : 1 }; // SHIFTS: different ones

    __device__ __forceinline__ explicit codec(unsigned word) : word_(word) {}

    static constexpr __device__ unsigned shift(unsigned g) {
        return SHIFTED ? 2 * g : 0;
    }
    __device__ __forceinline__ unsigned next() {
        const unsigned g = next_++;
        return SHIFTED ? word_ & 0x03030303u << 2 * g : word_ >> 2 * g & 0x03030303u;
    }

  private:
    unsigned word_, next_ = 0;
};

// A byte is ceil(v * 256 / 243) for the number v of five digits to base 3. Multiplying it by 3
// carries the first digit out into the next byte, and the rest stays. So even and odd bytes are
// processed in 16-bit fields, in a word each.
template <bool SHIFTED> class codec<BASE3, SHIFTED> {
  public:
    enum : unsigned { GROUPS = 5, SHIFTS = 1 };

    __device__ __forceinline__ explicit codec(unsigned word) : even_(word), odd_(word >> 8) {}

    static constexpr __device__ unsigned shift(unsigned) {
        return 0;
    }
    __device__ __forceinline__ unsigned next() {
        even_ = (even_ & 0x00ff00ffu) * 3;
        odd_ = (odd_ & 0x00ff00ffu) * 3;
        return __byte_perm(even_, odd_, 0x7351); // the carries, back in the order of the bytes
    }

  private:
    unsigned even_, odd_;
};

} // namespace rsr
