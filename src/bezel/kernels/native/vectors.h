/* Vectors of 16 lanes on every processor, in GCC's own notation, and the functions of them that need no intrinsics. */
#ifndef BEZEL_VECTORS_H
#define BEZEL_VECTORS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef float v16f __attribute__((vector_size(64)));
typedef int32_t v16i __attribute__((vector_size(64)));
typedef uint32_t v16u __attribute__((vector_size(64)));
typedef int8_t v16c __attribute__((vector_size(16)));
typedef uint16_t v16s __attribute__((vector_size(32)));

/* The processor's own vectors, of which 16 lanes are PARTS: what sums are kept in, since the compiler holds wider ones
   in memory. */
typedef float vpf __attribute__((vector_size(64 / PARTS)));
typedef int32_t vpi __attribute__((vector_size(64 / PARTS)));
typedef uint32_t vpu __attribute__((vector_size(64 / PARTS)));

#define EVERY_PART _Pragma("GCC unroll 4") for (int part = 0; part < PARTS; part++)

static inline v16f load16(const float *p) {
    v16f v;
    memcpy(&v, p, 64);
    return v;
}

static inline void store16(float *p, v16f v) { memcpy(p, &v, 64); }

static inline v16f all16(float value) { return value - (v16f){0}; }

static inline v16f select16(v16i mask, v16f yes, v16f no) { return (v16f)(((v16i)yes & mask) | ((v16i)no & ~mask)); }

/* The sum of the lanes, always in the same order. */
static inline float sum16(v16f v) {
    float lanes[16];
    memcpy(lanes, &v, 64);
    for (int width = 8; width; width /= 2)
        for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
    return lanes[0];
}

static inline v16f abs16(v16f v) { return (v16f)((v16i)v & 0x7fffffff); }

static inline v16f max_of(v16f a, v16f b) { return select16(a > b, a, b); }

#define TURNED(v, by) __builtin_shuffle(v, ((v16i){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} + (by)) & 15)

static inline float max16(v16f v) {
    v = max_of(v, TURNED(v, 8)), v = max_of(v, TURNED(v, 4));
    v = max_of(v, TURNED(v, 2)), v = max_of(v, TURNED(v, 1));
    return v[0];
}

static inline int32_t sum16i(v16i v) {
    v += TURNED(v, 8), v += TURNED(v, 4), v += TURNED(v, 2), v += TURNED(v, 1);
    return v[0];
}

/* sums[k] = the sum of v[k]'s lanes, for four vectors, in sum16's order. */
static inline void sums_of_four(const v16f *v, float *sums) {
    const v16i low8 = {0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23}, high8 = low8 + 8;
    const v16i low4 = {0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27}, high4 = low4 + 4;
    v16f first = __builtin_shuffle(v[0], v[1], low8) + __builtin_shuffle(v[0], v[1], high8);
    v16f second = __builtin_shuffle(v[2], v[3], low8) + __builtin_shuffle(v[2], v[3], high8);
    v16f four = __builtin_shuffle(first, second, low4) + __builtin_shuffle(first, second, high4);
    for (int k = 0; k < 4; k++) sums[k] = (four[4 * k] + four[4 * k + 2]) + (four[4 * k + 1] + four[4 * k + 3]);
}

/* sums[4 h + k] = the sum of v[4 h + k]'s lanes, for sixteen vectors, in sum16's order. */
static inline v16f sums_of_sixteen(const v16f *v) {
    const v16i low8 = {0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23}, high8 = low8 + 8;
    const v16i low4 = {0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27}, high4 = low4 + 4;
    const v16i low2 = {0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29}, high2 = low2 + 2;
    const v16i low1 = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30}, high1 = low1 + 1;
    v16f four[4], two[2];
    for (int h = 0; h < 4; h++, v += 4) {
        v16f first = __builtin_shuffle(v[0], v[1], low8) + __builtin_shuffle(v[0], v[1], high8);
        v16f second = __builtin_shuffle(v[2], v[3], low8) + __builtin_shuffle(v[2], v[3], high8);
        four[h] = __builtin_shuffle(first, second, low4) + __builtin_shuffle(first, second, high4);
    }
    for (int h = 0; h < 2; h++)
        two[h] = __builtin_shuffle(four[2 * h], four[2 * h + 1], low2) +
                 __builtin_shuffle(four[2 * h], four[2 * h + 1], high2);
    return __builtin_shuffle(two[0], two[1], low1) + __builtin_shuffle(two[0], two[1], high1);
}

static inline float half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023, bits;
    if (exponent == 31) bits = sign | 0x7f800000 | fraction << 13;
    else if (exponent) bits = sign | (exponent + 112) << 23 | fraction << 13;
    else {
        float small = (float)fraction * 0x1p-24f;
        memcpy(&bits, &small, 4);
        bits |= sign;
    }
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

/* To nearest even, subnormals included. */
static inline uint16_t float_to_half(float value) {
    uint32_t bits, sign, rest;
    memcpy(&bits, &value, 4);
    sign = bits >> 16 & 0x8000, bits &= 0x7fffffff;
    if (bits > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (bits >= 0x47800000) return (uint16_t)(sign | 0x7c00);
    if (bits < 0x38800000) {
        float magnitude, shifted;
        memcpy(&magnitude, &bits, 4);
        shifted = magnitude + 0.5f; /* whose last bit is a half's smallest step, 2^-24 */
        memcpy(&bits, &shifted, 4);
        return (uint16_t)(sign | (bits - 0x3f000000));
    }
    rest = bits + 0xfff + (bits >> 13 & 1);
    return (uint16_t)(sign | (rest - 0x38000000) >> 13);
}

/* e^x to about one unit in the last place: 2^n times a polynomial on [-ln2/2, ln2/2] (Cephes' coefficients).
   Arguments are held within [-87, 88], so nothing overflows and the smallest result is 1.6e-38. */
static inline v16f exp16(v16f x) {
    x = select16(x < -87.0f, all16(-87.0f), x);
    x = select16(x > 88.0f, all16(88.0f), x);
    v16f magic = all16(12582912.0f), n = (x * 1.44269504f + magic) - magic;
    v16f r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    v16f p = all16(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    v16i power = (__builtin_convertvector(n, v16i) + 127) << 23;
    return p * (v16f)power;
}

/* GELU as tanh gives it. */
static inline v16f gelu16(v16f x) { return x / (1.0f + exp16(-1.5957691216f * (x + 0.044715f * x * x * x))); }

/* tanh x = 1 - 2 / (e^2x + 1). */
static inline v16f tanh16(v16f x) { return 1.0f - 2.0f / (exp16(x + x) + 1.0f); }

#endif
