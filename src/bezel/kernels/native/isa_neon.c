/* NEON with its dot products of signed bytes: ARMv8.2 and later. */
#if defined(__aarch64__)
#pragma GCC target("arch=armv8.2-a+dotprod")
#include <arm_neon.h>
#define PARTS 4
#include "vectors.h"

static inline vpi dot4(vpi sum, vpi weights, int32_t x) {
    return (vpi)vdotq_s32((int32x4_t)sum, (int8x16_t)weights, vreinterpretq_s8_s32(vdupq_n_s32(x)));
}

enum { BIAS = 128, TOKENS = 2 };

static inline vpi dot4_bytes(vpi sum, vpi weights, int32_t x) { return dot4(sum, weights ^ (int32_t)0x80808080, x); }

static inline vpf half_part(const uint16_t *p) { return (vpf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }

static inline vpf fma_part(vpf a, vpf b, vpf c) { return (vpf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }

#include "plain.h"
#define NAME(name) bezel_##name##_neon
#include "kernels.h"
#endif
