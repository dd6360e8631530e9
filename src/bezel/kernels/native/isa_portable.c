#include "vectors.h"

static inline v16i dot4(v16i sum, v16i weights, int32_t x) {
    uint8_t w[64];
    int8_t codes[4];
    memcpy(w, &weights, 64);
    memcpy(codes, &x, 4);
    for (int row = 0; row < 16; row++)
        for (int column = 0; column < 4; column++) sum[row] += w[4 * row + column] * codes[column];
    return sum;
}

static inline v16f half16(const uint16_t *p) {
    v16f all;
    for (int i = 0; i < 16; i++) all[i] = half_to_float(p[i]);
    return all;
}

static inline v16f fma16(v16f a, v16f b, v16f c) { return a * b + c; }

#define NAME(name) bezel_##name##_portable
#include "kernels.h"
