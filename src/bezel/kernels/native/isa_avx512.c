#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")
#include <immintrin.h>
#define PARTS 1
#include "vectors.h"

static inline vpi dot4(vpi sum, vpi weights, int32_t x) {
    return (vpi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)weights, _mm512_set1_epi32(x));
}

enum { BIAS = 0, TOKENS = 6 };

static inline vpi dot4_bytes(vpi sum, vpi weights, int32_t x) { return dot4(sum, weights, x); }

static inline vpf half_part(const uint16_t *p) { return (vpf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }

static inline vpf fma_part(vpf a, vpf b, vpf c) { return (vpf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }

#define NAME(name) bezel_##name##_avx512
#include "kernels.h"
#endif
