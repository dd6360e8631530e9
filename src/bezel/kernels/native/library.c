/* What the library is and what this processor can run. */
#define EXPORT __attribute__((visibility("default")))

EXPORT int bezel_abi_version(void) { return 1; }

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
