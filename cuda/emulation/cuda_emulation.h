// cuda_emulation.h - runs CUDA C++ kernels on the host, so that their results can be tested without
// a GPU.
//
// Include it before a kernel's header and compile with an ordinary C++ compiler. Every thread of a
// block is a fiber. Fibers wait at barriers and warp collectives, and the next fiber to run is
// chosen at random. Blocks run one after another; their shared memory is first filled with garbage.
// So races become visible: a value read before its barrier is garbage. Deadlocks, and threads that
// meet at different collectives, are reported.
//
// options::skip_barrier and options::lane_error break a kernel on purpose, so that a test can show
// that it would notice.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATION_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define EMULATION_ASAN 1
#endif
#ifdef EMULATION_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

#define __global__
#define __device__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(threads)

struct uint3 {
    unsigned x, y, z;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
    return {x, y, z, w};
}
inline float4 make_float4(float x, float y, float z, float w) {
    return {x, y, z, w};
}

using std::max;
using std::min;

// State of the running fiber.
inline uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

struct options {
    uint64_t seed = 1;
    unsigned skip_barrier =
        0; // number of the barrier, in a thread's order, that does not wait; 0: none
    unsigned lane_error = 0; // added to the lane that a shuffle reads from
};

constexpr unsigned WARP = 32;
// The garbage byte that fills shared memory. As an int it is large, and a sum of eight does not
// overflow.
constexpr int GARBAGE = 0x0b;
#ifdef EMULATION_ASAN
constexpr size_t STACK_BYTES = 128 << 10;
#else
constexpr size_t STACK_BYTES = 64 << 10;
#endif

// One thread of the block.
struct fiber {
    ucontext_t context; // where it begins
    jmp_buf place;      // where it goes on
    bool started = false;
    char *stack = nullptr;
    unsigned index = 0;
    bool finished = false;
    unsigned n_barriers = 0;    // passed or waited at
    unsigned n_collectives = 0; // of its warp
    void *fake_stack = nullptr; // AddressSanitizer's
};

// Slots for values that the lanes of a warp exchange. Collectives alternate between two sets of
// slots, because a lane can be one collective ahead of another, never two.
struct warp {
    uint32_t values[2][WARP];
    unsigned arrived[2] = {0, 0}; // so far, over all collectives that used the slots
    const char *operation[2] = {nullptr, nullptr};
};

class block {
  public:
    // `stacks` has one stack per thread; the next block uses them again.
    block(unsigned n_threads, const options &chosen, std::vector<std::unique_ptr<char[]>> &stacks,
          std::function<void()> kernel)
        : stacks_(stacks), fibers_(n_threads), warps_((n_threads + WARP - 1) / WARP),
          options_(chosen), kernel_(std::move(kernel)), random_(chosen.seed) {}

    // A mistake of the kernel; empty if there is none.
    std::string run() {
        block *const outer = current_;
        current_ = this;
        for (unsigned i = 0; i < fibers_.size(); i++)
            start(fibers_[i], i);
        while (error_.empty() && n_finished_ < fibers_.size()) {
            const uint64_t before = progress_;
            run_warp(next_random() % static_cast<unsigned>(warps_.size()));
            for (unsigned w = 0; w < warps_.size() && progress_ == before; w++)
                run_warp(w); // the warp chosen waits: perhaps for this one
            if (error_.empty() && progress_ == before)
                error_ = "deadlock: no thread can go on";
        }
        current_ = outer;
        return error_;
    }

    void barrier() {
        const unsigned number = ++running_->n_barriers;
        progress_++;
        if (number == options_.skip_barrier)
            return;
        n_at_barrier_++;
        const uint64_t all =
            static_cast<uint64_t>(fibers_.size()) *
            (number - (options_.skip_barrier != 0 && number > options_.skip_barrier));
        while (n_at_barrier_ < all)
            wait();
    }

    // Publishes the lane's value, waits for the others' values and returns all 32. `operation` must
    // be the same pointer in all lanes.
    const uint32_t *exchange(const char *operation, uint32_t value) {
        warp &mine = warps_[running_->index / WARP];
        const unsigned number = running_->n_collectives++;
        const unsigned slot = number % 2;
        if (mine.arrived[slot] % WARP == 0)
            mine.operation[slot] = operation;
        else if (mine.operation[slot] != operation) {
            error_ = std::string("lanes of a warp diverge: ") + operation + " meets " +
                     mine.operation[slot];
            for (;;)
                wait(); // never resumed: the scheduler stops at the first error
        }
        mine.values[slot][running_->index % WARP] = value;
        mine.arrived[slot]++;
        progress_++;
        while (mine.arrived[slot] < WARP * (number / 2 + 1))
            wait();
        return mine.values[slot];
    }

    unsigned lane() const {
        return running_->index % WARP;
    }
    const options &chosen() const {
        return options_;
    }
    static block &current() {
        return *current_;
    }

  private:
    void start(fiber &f, unsigned index) {
        f.index = index;
        f.stack = stacks_[index].get();
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack;
        f.context.uc_stack.ss_size = STACK_BYTES;
        f.context.uc_link = nullptr;
        makecontext(&f.context, &block::enter, 0);
    }

    static void enter() {
        block &self = current();
        self.arrived_on(nullptr);
        self.kernel_();
        self.running_->finished = true;
        self.n_finished_++;
        self.progress_++;
        self.leave(nullptr);
    }

    void resume(fiber &f) {
        running_ = &f;
        threadIdx = {f.index, 0, 0};
#ifdef EMULATION_ASAN
        void *own = nullptr;
        __sanitizer_start_switch_fiber(&own, f.stack, STACK_BYTES);
        go_on(f);
        __sanitizer_finish_switch_fiber(own, nullptr, nullptr);
#else
        go_on(f);
#endif
    }

    // Runs a fiber until it leaves. (swapcontext sets the signal mask by a system call every time,
    // which took half of all time.)
    void go_on(fiber &f) {
        if (_setjmp(scheduler_) != 0)
            return;
        if (f.started)
            _longjmp(f.place, 1);
        f.started = true;
        setcontext(&f.context);
    }

    // Back to the scheduler; `keep` is where AddressSanitizer saves the fiber's state, null for
    // good.
    void leave([[maybe_unused]] void **keep) {
        fiber &f = *running_;
#ifdef EMULATION_ASAN
        __sanitizer_start_switch_fiber(keep, scheduler_stack_, scheduler_stack_bytes_);
#endif
        if (_setjmp(f.place) == 0)
            _longjmp(scheduler_, 1);
    }

    void arrived_on([[maybe_unused]] void *fake_stack) {
#ifdef EMULATION_ASAN
        __sanitizer_finish_switch_fiber(fake_stack, &scheduler_stack_, &scheduler_stack_bytes_);
#endif
    }

    void wait() {
        fiber &f = *running_;
        leave(&f.fake_stack);
        arrived_on(f.fake_stack);
    }

    // Lets a warp run for a while, with its lanes in a random order, independently of other warps.
    void run_warp(unsigned w) {
        const unsigned first = w * WARP;
        const unsigned n = min(WARP, static_cast<unsigned>(fibers_.size()) - first);
        const unsigned n_rounds = 1 + next_random() % 64;
        uint64_t before = 0;
        for (unsigned round = 0; round < n_rounds && error_.empty(); round++) {
            if (round != 0 && progress_ == before)
                break; // waits for other warps
            before = progress_;
            const unsigned offset = next_random() % n, stride = 2 * (next_random() % 16) + 1;
            for (unsigned i = 0; i < WARP && error_.empty(); i++) {
                const unsigned lane = (offset + i * stride) % WARP; // odd strides visit every lane
                if (lane < n && !fibers_[first + lane].finished)
                    resume(fibers_[first + lane]);
            }
        }
    }

    unsigned next_random() {
        random_ = random_ * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return static_cast<unsigned>(random_ >> 33);
    }

    std::vector<std::unique_ptr<char[]>> &stacks_;
    std::vector<fiber> fibers_;
    std::vector<warp> warps_;
    options options_;
    std::function<void()> kernel_;
    uint64_t random_;
    jmp_buf scheduler_;
    [[maybe_unused]] const void *scheduler_stack_ = nullptr;
    [[maybe_unused]] size_t scheduler_stack_bytes_ = 0;
    fiber *running_ = nullptr;
    uint64_t n_at_barrier_ = 0; // arrivals so far, over all barriers
    uint64_t progress_ = 0;
    size_t n_finished_ = 0;
    std::string error_;
    static inline block *current_ = nullptr;
};

// Runs a grid of n_blocks x n_turns blocks, whose `kernel` gets the block's shared memory: one
// Memory, which all blocks use in turn. Returns what went wrong, or an empty text.
template <class Memory, class Kernel>
std::string launch(unsigned n_blocks, unsigned n_turns, unsigned n_threads, const options &chosen,
                   Kernel kernel) {
    const std::unique_ptr<Memory> shared(new Memory);
    std::vector<std::unique_ptr<char[]>> stacks;
    for (unsigned i = 0; i < n_threads; i++)
        stacks.emplace_back(new char[STACK_BYTES]);
    blockDim = {n_threads, 1, 1};
    gridDim = {n_blocks, n_turns, 1};
    for (unsigned b = 0; b < n_blocks * n_turns; b++) {
        memset(static_cast<void *>(shared.get()), GARBAGE, sizeof(Memory));
        blockIdx = {b % n_blocks, b / n_blocks, 0};
        options mine = chosen;
        mine.seed = chosen.seed + b;
        const std::string error = block(n_threads, mine, stacks, [&] { kernel(*shared); }).run();
        if (!error.empty())
            return error;
    }
    return "";
}

template <class T> uint32_t bits_of(T value) {
    static_assert(sizeof(T) == 4, "lanes exchange 32 bits");
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

template <class T> T value_of(uint32_t bits) {
    T value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

} // namespace emulation

// ---- what kernels call --------------------------------------------------------------------------

inline void __syncthreads() {
    emulation::block::current().barrier();
}

template <class T> T __shfl_xor_sync(unsigned, T value, unsigned distance) {
    emulation::block &block = emulation::block::current();
    const uint32_t *all = block.exchange("__shfl_xor_sync", emulation::bits_of(value));
    const unsigned from = (block.lane() ^ distance) + block.chosen().lane_error;
    return emulation::value_of<T>(all[from % emulation::WARP]);
}

inline unsigned __reduce_max_sync(unsigned, unsigned value) {
    const uint32_t *all = emulation::block::current().exchange("__reduce_max_sync", value);
    return *std::max_element(all, all + emulation::WARP);
}

inline int __reduce_add_sync(unsigned, int value) {
    const uint32_t *all =
        emulation::block::current().exchange("__reduce_add_sync", emulation::bits_of(value));
    uint32_t sum = 0;
    for (unsigned i = 0; i < emulation::WARP; i++)
        sum += all[i];
    return emulation::value_of<int>(sum);
}

template <class T> T __ldg(const T *address) {
    return *address;
}

namespace rsr {

inline void allow_next() {} // launches follow each other
inline void wait_for_launches() {}

inline uint4 load_words(const uint4 *address) {
    return *address;
}
inline uint2 load_words(const uint2 *address) {
    return *address;
}

inline int dp4a_us(unsigned a, unsigned b, int c) {
    for (unsigned i = 0; i < 4; i++)
        c += static_cast<uint8_t>(a >> 8 * i) * static_cast<int8_t>(b >> 8 * i);
    return c;
}

// The lanes exchange their operands, each with all, and compute their own results.
inline void mma_us(int (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    emulation::block &block = emulation::block::current();
    const unsigned sent[6] = {a[0], a[1], a[2], a[3], b0, b1};
    uint32_t all[6][emulation::WARP];
    for (unsigned i = 0; i < 6; i++)
        memcpy(all[i], block.exchange("mma", sent[i]), sizeof all[i]);
    const unsigned g = block.lane() / 4, t = block.lane() % 4;
    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = 0; k < 8; k++) // four of the 32 products
            d[i] = dp4a_us(all[k / 4 * 2 + i / 2][g * 4 + k % 4],
                           all[4 + k / 4][(2 * t + i % 2) * 4 + k % 4], d[i]);
}

} // namespace rsr

inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
    const uint64_t both = static_cast<uint64_t>(high) << 32 | low;
    unsigned result = 0;
    for (unsigned i = 0; i < 4; i++)
        result |= static_cast<unsigned>(both >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
    return result;
}

inline unsigned __float_as_uint(float x) {
    return emulation::bits_of(x);
}
inline float __uint_as_float(unsigned bits) {
    return emulation::value_of<float>(bits);
}
inline float __fdiv_rn(float a, float b) {
    return a / b;
}

// To nearest even; saturates, and NaN gives 0.
inline int __float2int_rn(float x) {
    if (std::isnan(x))
        return 0;
    const float rounded = std::nearbyint(x);
    return rounded >= 0x1p31f   ? INT32_MAX
           : rounded < -0x1p31f ? INT32_MIN
                                : static_cast<int>(rounded);
}
