/* Every kernel, once per instruction set. The including file gives NAME, PARTS and, over the processor's own vectors:

   dot4(sum, w, x)        sum + w.x of 4 bytes a lane: codes of w under 128, signed x repeated in every lane
   dot4_bytes(sum, w, x)  the same for codes of any byte, from each of which BIAS (0 or 128) is taken off first
   half_part(p)           float16 as float32
   fma_part(a, b, c)      a * b + c
   TOKENS                 rows of x whose sums over two blocks fit into the registers

   and where there are dot products of BF16, PAIR_DOTS defined and

   dot2(sum, w, x)        sum + w.x of 2 BF16 a lane, x repeated in every lane
   rounded_bf16(v)        16 floats rounded to BF16, to nearest even
   store_upper16(p, v)    the upper halves of 16 floats
   store_bytes16(p, v)    the lowest bytes of 16 integers

   and for attention, over 16 lanes:

   codes16(p)             16 signed bytes as integers
   half1(h)               one float16 as float32
   store_half16(p, v)     16 floats as float16, rounded to nearest even
   QUERIES                queries that share the registers of one tile

   What each computes is stated in kernels/interface.py and defined by kernels/reference.py. */

#include "pool.h"

#define EXPORT __attribute__((visibility("default")))
/* What Python calls: every argument in eight bytes, so that a call can be written down and made again (library.c). */
#define OP(name) EXPORT int NAME(name)(const Slot *s)
#define INLINE static inline __attribute__((always_inline))

enum { F32 = 0, F16 = 1, Q4_0 = 2, Q5_0 = 6, Q8_0 = 8, Q4_K = 12, Q5_K = 13, Q6_K = 14, BF16 = 30 };
enum { GROUP = 32, LANES = 16, TILE = 8, WIDE = 6 };
enum { SMALL = 8192 /* elements that one thread does sooner alone */ };

typedef struct {
    int format;
    long rows, columns;
    uint8_t *data;
} Matrix;

INLINE vpf load_part(const float *p) {
    vpf v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE vpi load_codes(const uint8_t *p) {
    vpi v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Asks for `bytes` that a stream of weights reaches a page later. */
INLINE void ask_ahead(const uint8_t *at, const long bytes) {
#pragma GCC unroll 16
    for (long line = 0; line < bytes; line += 64) __builtin_prefetch(at + 4096 + line, 0, 2);
}

INLINE v16f half16(const uint16_t *p) {
    v16f all;
    for (int part = 0; part < PARTS; part++) {
        vpf v = half_part(p + part * LANES / PARTS);
        memcpy((char *)&all + part * sizeof v, &v, sizeof v);
    }
    return all;
}

INLINE v16f fma16(v16f a, v16f b, v16f c) {
    for (int part = 0; part < PARTS; part++) {
        vpf x = load_part((float *)&a + part * LANES / PARTS), y = load_part((float *)&b + part * LANES / PARTS);
        vpf z = fma_part(x, y, load_part((float *)&c + part * LANES / PARTS));
        memcpy((char *)&c + part * sizeof z, &z, sizeof z);
    }
    return c;
}

/* `sum` gains a.b lane by lane; what is left behind the last 16 goes to the first lanes. */
INLINE v16f add_products(v16f sum, const float *a, const float *b, long count) {
    long i = 0;
    for (; i + 16 <= count; i += 16) sum = fma16(load16(a + i), load16(b + i), sum);
    if (i < count) {
        v16f last_a = all16(0), last_b = all16(0);
        memcpy(&last_a, a + i, 4 * (count - i));
        memcpy(&last_b, b + i, 4 * (count - i));
        sum += last_a * last_b;
    }
    return sum;
}

#include "packing.h"
#include "products.h"
#include "k_products.h"
#ifdef PAIR_DOTS
#include "pair_dots.h"
#else
#include "pairs.h"
#endif
#include "whole_products.h"
#include "linear.h"
#include "norms.h"
#include "cache.h"
#include "attention.h"
#include "choice.h"
#include "altup.h"
#include "sparse.h"
#include "widen.h"
#include "mask.h"
#include "towers.h"
#include "full.h"
#include "convolutions.h"

/* ---- element by element ---- */

/* out = the named rows of x. */
OP(rows) {
    const float *x = s[0].p;
    const int32_t *index = s[1].p;
    long count = s[2].i, n = s[3].i;
    for (long i = 0; i < count; i++) memcpy((float *)s[4].p + i * n, x + index[i] * n, 4 * n);
    return 0;
}

typedef struct {
    float *sum;
    const float *x;
    long count;
} Add;

/* Parallel over strips of 16. */
static void NAME(add_strips)(void *arguments, long first, long last) {
    const Add *a = arguments;
    long end = last * LANES < a->count ? last * LANES : a->count;
    for (long i = first * LANES; i < end; i++) a->sum[i] += a->x[i];
}

OP(add) {
    Add add = {s[0].p, s[1].p, s[2].i};
    long strips = (add.count + LANES - 1) / LANES;
    if (add.count < 8 * SMALL) NAME(add_strips)(&add, 0, strips);
    else bezel_parallel(NAME(add_strips), &add, strips);
    return 0;
}

typedef struct {
    const float *gate_up;
    long n;
    float *out;
} Geglu;

/* Parallel over rows cut into strips of 16. */
static void NAME(geglu_strips)(void *arguments, long first, long last) {
    const Geglu *a = arguments;
    long strips = (a->n + LANES - 1) / LANES;
    for (long strip = first; strip < last;) {
        long row = strip / strips, end = (row + 1) * strips < last ? (row + 1) * strips : last;
        const float *gates = a->gate_up + row * 2 * a->n, *ups = gates + a->n;
        for (; strip < end; strip++) {
            long i = (strip - row * strips) * LANES, count = a->n - i < LANES ? a->n - i : LANES;
            v16f gate = all16(0), up = all16(0);
            if (count == LANES) gate = load16(gates + i), up = load16(ups + i);
            else memcpy(&gate, gates + i, 4 * count), memcpy(&up, ups + i, 4 * count);
            v16f result = gelu16(gate) * up;
            memcpy(a->out + row * a->n + i, &result, 4 * count);
        }
    }
}

OP(geglu) {
    long rows = s[1].i, n = s[2].i;
    Geglu arguments = {s[0].p, n, s[3].p};
    long strips = rows * ((n + LANES - 1) / LANES);
    if (strips * LANES < SMALL / 4) NAME(geglu_strips)(&arguments, 0, strips);
    else bezel_parallel(NAME(geglu_strips), &arguments, strips);
    return 0;
}

typedef struct {
    float *x, cap;
    long count;
} Cap;

/* Parallel over strips of 16. Near 0, where 1 - 2 / (e^2y + 1) cancels, tanh's series takes over. */
static void NAME(cap_strips)(void *arguments, long first, long last) {
    const Cap *a = arguments;
    for (long strip = first; strip < last; strip++) {
        long i = strip * LANES, count = a->count - i < LANES ? a->count - i : LANES;
        v16f y = all16(0);
        memcpy(&y, a->x + i, 4 * count);
        y /= a->cap;
        v16f s = y * y;
        v16f series = y + y * s * (-1 / 3.0f + s * (2 / 15.0f + s * (-17 / 315.0f + s * (62 / 2835.0f))));
        y = a->cap * select16(abs16(y) < 0.25f, series, tanh16(y));
        memcpy(a->x + i, &y, 4 * count);
    }
}

OP(soft_cap) {
    Cap cap = {s[0].p, s[2].f, s[1].i};
    bezel_parallel(NAME(cap_strips), &cap, (cap.count + LANES - 1) / LANES);
    return 0;
}

#include "conformer.h"

/* ---- the machine's limit ---- */

static void NAME(read_part)(void *arguments, long first, long last) {
    const uint8_t *data = arguments;
    v16u found[4] = {0};
    for (long i = first; i < last; i++)
        for (int j = 0; j < 4; j++) {
            v16u next;
            memcpy(&next, data + 256 * i + 64 * j, 64);
            found[j] |= next;
        }
    found[0] |= found[1] | found[2] | found[3];
    __asm__ volatile("" : : "m"(found[0]));
}

OP(read) {
    bezel_parallel(NAME(read_part), s[0].p, s[1].i / 256);
    return 0;
}
