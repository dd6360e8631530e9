/* What AVX-512 with VNNI gives to kernels.h, for each of its sets. */
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

/* 16 signed bytes; __builtin_convertvector takes them one by one. */
static inline v16i codes16(const uint8_t *p) {
    return (v16i)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p));
}

static inline float half1(uint16_t half) { return _cvtsh_ss(half); }

static inline void store_half16(uint16_t *p, v16f v) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
}

/* How many queries share the registers of one tile of attention. */
enum { QUERIES = 4 };
