/* NEON with its dot products of signed bytes: ARMv8.2 and later. */
#if defined(__aarch64__)
#pragma GCC target("arch=armv8.2-a+dotprod")
#include <arm_neon.h>
#include "vectors.h"

static inline v16i dot4(v16i sum, v16i weights, int32_t x) {
    int32x4_t s[4];
    int8x16_t w[4], repeated = vreinterpretq_s8_s32(vdupq_n_s32(x));
    memcpy(s, &sum, 64);
    memcpy(w, &weights, 64);
    for (int i = 0; i < 4; i++) s[i] = vdotq_s32(s[i], w[i], repeated);
    memcpy(&sum, s, 64);
    return sum;
}

enum { BIAS = 128, TOKENS = 2 };

static inline v16i dot4_bytes(v16i sum, v16i weights, int32_t x) {
    return dot4(sum, (v16i)((v16u)weights ^ 0x80808080u), x);
}

static inline v16f half16(const uint16_t *p) {
    float32x4_t parts[4];
    for (int i = 0; i < 4; i++) parts[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)));
    v16f all;
    memcpy(&all, parts, 64);
    return all;
}

static inline v16f fma16(v16f a, v16f b, v16f c) {
    float32x4_t p[4], q[4], r[4];
    memcpy(p, &a, 64), memcpy(q, &b, 64), memcpy(r, &c, 64);
    for (int i = 0; i < 4; i++) r[i] = vfmaq_f32(r[i], p[i], q[i]);
    memcpy(&c, r, 64);
    return c;
}

#define NAME(name) bezel_##name##_neon
#include "kernels.h"
#endif
