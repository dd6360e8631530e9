/* AVX-512 with dot products of BF16 too. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,avx2,fma,f16c")
#include "avx512.h"

#define PAIR_DOTS

static inline vpf dot2(vpf sum, vpi weights, int32_t x) {
    return (vpf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)weights, (__m512bh)_mm512_set1_epi32(x));
}

static inline v16f rounded_bf16(v16f v) {
    __m512i bits = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)v));
    return (v16f)_mm512_slli_epi32(bits, 16);
}

static inline void store_upper16(uint16_t *p, v16f v) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32((__m512i)v, 16)));
}

static inline void store_bytes16(int8_t *p, v16i v) {
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8((__m512i)v));
}

#define NAME(name) bezel_##name##_avx512_bf16
#include "kernels.h"
#endif
