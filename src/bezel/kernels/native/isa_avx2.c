#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")
#include <immintrin.h>
#define PARTS 2
#include "vectors.h"

/* Two products of a code under 128 and a byte fit into 16 bits: 2 * 127 * 128 < 32768. */
static inline vpi dot4(vpi sum, vpi weights, int32_t x) {
    __m256i pairs = _mm256_maddubs_epi16((__m256i)weights, _mm256_set1_epi32(x));
    return sum + (vpi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

enum { BIAS = 128, TOKENS = 3 };

/* Two products of 128 at most and a code of x, within 127, fit too: the sign goes over to x. */
static inline vpi dot4_bytes(vpi sum, vpi weights, int32_t x) {
    __m256i w = _mm256_xor_si256((__m256i)weights, _mm256_set1_epi8(-128));
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(_mm256_set1_epi32(x), w));
    return sum + (vpi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

static inline vpf half_part(const uint16_t *p) { return (vpf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }

static inline vpf fma_part(vpf a, vpf b, vpf c) { return (vpf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }

/* 16 signed bytes; __builtin_convertvector takes them one by one. */
static inline v16i codes16(const uint8_t *p) {
    __m256i parts[2] = {_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)),
                        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8)))};
    v16i all;
    memcpy(&all, parts, 64);
    return all;
}

static inline float half1(uint16_t half) { return _cvtsh_ss(half); }

static inline void store_half16(uint16_t *p, v16f v) {
    __m256 parts[2];
    memcpy(parts, &v, 64);
    for (int i = 0; i < 2; i++)
        _mm_storeu_si128((__m128i *)p + i, _mm256_cvtps_ph(parts[i], _MM_FROUND_TO_NEAREST_INT));
}

/* How many queries share the registers of one tile of attention. */
enum { QUERIES = 1 };

#define NAME(name) bezel_##name##_avx2
#include "kernels.h"
#endif
