/* Any processor: vector notation alone, which the compiler turns into what the processor's oldest models have. */
#define PARTS 4
#include "vectors.h"

typedef int16_t vps __attribute__((vector_size(16)));

/* Even and odd bytes apart: a product of a byte and a signed byte fits into 16 bits. */
static inline vpi dot4(vpi sum, vpi weights, int32_t x) {
    int8_t codes[4];
    memcpy(codes, &x, 4);
    vpi x_even = (vpi){0} + ((uint16_t)codes[0] | codes[2] * 65536);
    vpi x_odd = (vpi){0} + ((uint16_t)codes[1] | codes[3] * 65536);
    vpi even = (vpi)((vps)(weights & 0x00ff00ff) * (vps)x_even);
    vpi odd = (vpi)((vps)(weights >> 8 & 0x00ff00ff) * (vps)x_odd);
    return sum + (even << 16 >> 16) + (even >> 16) + (odd << 16 >> 16) + (odd >> 16);
}

enum { BIAS = 0, TOKENS = 2 };

static inline vpi dot4_bytes(vpi sum, vpi weights, int32_t x) { return dot4(sum, weights, x); }

/* As half_to_float: exponents are shifted by a product, which also makes the smallest numbers normal. */
static inline vpf half_part(const uint16_t *p) {
    vpu wide = {p[0], p[1], p[2], p[3]}, size = (wide & 0x7fff) << 13, special = (vpu)(size >= 0x0f800000);
    vpu value = (vpu)((vpf)size * 0x1p112f);
    return (vpf)((special & (size | 0x7f800000)) | (~special & value) | (wide & 0x8000) << 16);
}

static inline vpf fma_part(vpf a, vpf b, vpf c) { return a * b + c; }

#include "plain.h"
#define NAME(name) bezel_##name##_portable
#include "kernels.h"
