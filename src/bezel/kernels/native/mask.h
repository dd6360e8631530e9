/* What a grammar forbids is taken out of a row of logits. */

typedef struct {
    const float *x;
    const uint32_t *allowed;
    long count;
    float *out;
} Masking;

/* Parallel over stretches. */
static void NAME(masked_stretches)(void *arguments, long first, long last) {
    const Masking *m = arguments;
    const v16i bit = (v16i){1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
    const v16f never = all16(-INFINITY);
    for (long stretch = first; stretch < last; stretch++) {
        long i = stretch * STRETCH, end = i + STRETCH < m->count ? i + STRETCH : m->count;
        for (; i < end; i += LANES) {
            long count = end - i < LANES ? end - i : LANES;
            int32_t bits = (int32_t)(m->allowed[i / 32] >> i % 32 & 0xffff);
            v16f kept = never;
            if (bits) {
                memcpy(&kept, m->x + i, 4 * count);
                kept = select16((bit & bits) != 0, kept, never);
            }
            memcpy(m->out + i, &kept, 4 * count);
        }
    }
}

/* out[i] = x[i] where bit i % 32 of word i / 32 is set, else -infinity. */
OP(masked) {
    Masking m = {s[0].p, s[1].p, s[2].i, s[3].p};
    bezel_parallel(NAME(masked_stretches), &m, (m.count + STRETCH - 1) / STRETCH);
    return 0;
}
