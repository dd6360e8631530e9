#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")
#include <immintrin.h>
#include "vectors.h"

/* Two products of a code under 128 and a byte fit into 16 bits: 2 * 127 * 128 < 32768. */
static inline v16i dot4(v16i sum, v16i weights, int32_t x) {
    __m256i s[2], w[2], repeated = _mm256_set1_epi32(x), ones = _mm256_set1_epi16(1);
    memcpy(s, &sum, 64);
    memcpy(w, &weights, 64);
    for (int i = 0; i < 2; i++)
        s[i] = _mm256_add_epi32(s[i], _mm256_madd_epi16(_mm256_maddubs_epi16(w[i], repeated), ones));
    memcpy(&sum, s, 64);
    return sum;
}

enum { BIAS = 0, TOKENS = 2 };

/* Bytes are widened to 16 bits, even and odd ones apart: maddubs would saturate. */
static inline __m256i dot4_half(__m256i sum, __m256i weights, __m256i x) {
    __m256i even = _mm256_and_si256(weights, _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(weights, 8);
    __m256i x_even = _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8), x_odd = _mm256_srai_epi16(x, 8);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(even, x_even));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(odd, x_odd));
}

static inline v16i dot4_bytes(v16i sum, v16i weights, int32_t x) {
    __m256i s[2], w[2], repeated = _mm256_set1_epi32(x);
    memcpy(s, &sum, 64);
    memcpy(w, &weights, 64);
    s[0] = dot4_half(s[0], w[0], repeated);
    s[1] = dot4_half(s[1], w[1], repeated);
    memcpy(&sum, s, 64);
    return sum;
}

static inline v16f half16(const uint16_t *p) {
    __m256 parts[2] = {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                       _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))};
    v16f all;
    memcpy(&all, parts, 64);
    return all;
}

static inline v16f fma16(v16f a, v16f b, v16f c) {
    __m256 p[2], q[2], r[2];
    memcpy(p, &a, 64), memcpy(q, &b, 64), memcpy(r, &c, 64);
    r[0] = _mm256_fmadd_ps(p[0], q[0], r[0]), r[1] = _mm256_fmadd_ps(p[1], q[1], r[1]);
    memcpy(&c, r, 64);
    return c;
}

#define NAME(name) bezel_##name##_avx2
#include "kernels.h"
#endif
