/* What the library is and what this processor can run. */
#include "pool.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int bezel_abi_version(void) { return 4; }

/* 2: AVX-512 with VNNI, 1: AVX2 with FMA and F16C, 0: portable C. */
EXPORT int bezel_best_isa(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni"))
        return 2;
    return avx2 ? 1 : 0;
#else
    return 0;
#endif
}

/* Makes `count` calls again: each is the number of its arguments, its function, and the arguments. Stops at the first
   that fails and returns what it returned. */
EXPORT int bezel_replay(const Slot *program, long count) {
    for (long i = 0; i < count; i++) {
        int failed = ((int (*)(const Slot *))program[1].p)(program + 2);
        if (failed) return failed;
        program += 2 + program[0].i;
    }
    return 0;
}
