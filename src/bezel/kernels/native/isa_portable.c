/* Any processor: vector notation alone, which the compiler turns into what the processor's oldest models have. */
#include "vectors.h"

typedef int16_t v32s __attribute__((vector_size(64)));
typedef uint16_t v16s __attribute__((vector_size(32)));

/* Even and odd bytes apart: a product of a byte and a signed byte fits into 16 bits. */
static inline v16i dot4(v16i sum, v16i weights, int32_t x) {
    int8_t codes[4];
    memcpy(codes, &x, 4);
    v16i x_even = (v16i){0} + ((uint16_t)codes[0] | codes[2] * 65536);
    v16i x_odd = (v16i){0} + ((uint16_t)codes[1] | codes[3] * 65536);
    v16i even = (v16i)((v32s)(weights & 0x00ff00ff) * (v32s)x_even);
    v16i odd = (v16i)((v32s)(weights >> 8 & 0x00ff00ff) * (v32s)x_odd);
    return sum + (even << 16 >> 16) + (even >> 16) + (odd << 16 >> 16) + (odd >> 16);
}

enum { BIAS = 0, TOKENS = 2 };

static inline v16i dot4_bytes(v16i sum, v16i weights, int32_t x) { return dot4(sum, weights, x); }

/* As half_to_float: exponents are shifted by a product, which also makes the smallest numbers normal. */
static inline v16f half16(const uint16_t *p) {
    v16s halves;
    memcpy(&halves, p, 32);
    v16u wide = __builtin_convertvector(halves, v16u), size = (wide & 0x7fff) << 13;
    v16f value = select16((v16i)(size >= 0x0f800000), (v16f)(size | 0x7f800000), (v16f)size * 0x1p112f);
    return (v16f)((v16u)value | (wide & 0x8000) << 16);
}

static inline v16f fma16(v16f a, v16f b, v16f c) { return a * b + c; }

#define NAME(name) bezel_##name##_portable
#include "kernels.h"
