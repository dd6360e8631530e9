/* What the library is and what this processor can run. */
#include "pool.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#define EXPORT __attribute__((visibility("default")))

EXPORT int bezel_abi_version(void) { return 15; }

/* The instruction sets that this processor can run, plainest first and best last, with spaces between. */
EXPORT const char *bezel_instruction_sets(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c"))
        return "portable";
    int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512vnni");
    if (!avx512) return "portable avx2";
    return __builtin_cpu_supports("avx512bf16") ? "portable avx2 avx512 avx512_bf16" : "portable avx2 avx512";
#elif defined(__aarch64__) && defined(__linux__)
    const unsigned long dot_products = 1 << 20; /* HWCAP_ASIMDDP, which older headers lack */
    return getauxval(AT_HWCAP) & dot_products ? "portable neon" : "portable";
#else
    return "portable";
#endif
}

int bezel_asks_ahead(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    return __builtin_cpu_is("intel");
#else
    return 0;
#endif
}

/* Makes `count` calls again: each is the number of its arguments, its function, where what a later call reads begins
   and how many bytes of it threads without work may fetch meanwhile, and the arguments. Stops at the first call that
   fails and returns what it returned. */
EXPORT int bezel_replay(const Slot *program, long count) {
    for (long i = 0; i < count; i++) {
        bezel_read_ahead(program[2].p, program[3].i);
        int failed = ((int (*)(const Slot *))program[1].p)(program + 4);
        if (failed) return failed;
        program += 4 + program[0].i;
    }
    bezel_read_ahead(0, 0);
    return 0;
}
