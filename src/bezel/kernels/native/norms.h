/* Norms and rotary positions. */

INLINE float inverse_root(const float *x, long n, float eps) {
    return 1.0f / sqrtf(sum16(add_products(all16(0), x, x, n)) / (float)n + eps);
}

typedef struct {
    const float *x, *weight;
    float *out;
    long n;
    float eps;
    int add;
} Norm;

static void NAME(norm_rows)(void *arguments, long first, long last) {
    const Norm *a = arguments;
    for (long row = first; row < last; row++) {
        const float *x = a->x + row * a->n;
        float *out = a->out + row * a->n, scale = inverse_root(x, a->n, a->eps);
        for (long i = 0; i < a->n; i++) {
            float normed = a->weight ? x[i] * scale * a->weight[i] : x[i] * scale;
            out[i] = a->add ? out[i] + normed : normed;
        }
    }
}

OP(rms_norm) {
    long rows = s[2].i;
    Norm norm = {s[0].p, s[1].p, s[5].p, s[3].i, s[4].f, s[6].i};
    if (rows * norm.n < SMALL) NAME(norm_rows)(&norm, 0, rows);
    else bezel_parallel(NAME(norm_rows), &norm, rows);
    return 0;
}

typedef struct {
    float *x;
    const float *weight, *cosine, *sine;
    const int32_t *positions;
    long stride, heads, n;
    float eps;
} NormRope;

static void NAME(norm_rope_tokens)(void *arguments, long first, long last) {
    const NormRope *a = arguments;
    long n = a->n, half = n / 2;
    for (long token = first; token < last; token++) {
        const float *c = a->cosine + a->positions[token] * half, *s = a->sine + a->positions[token] * half;
        for (long head = 0; head < a->heads; head++) {
            float *x = a->x + token * a->stride + head * n;
            Norm norm = {x, a->weight, x, n, a->eps, 0};
            if (a->weight) NAME(norm_rows)(&norm, 0, 1);
            for (long i = 0; i < half; i++) {
                float first_half = x[i], second_half = x[i + half];
                x[i] = first_half * c[i] - second_half * s[i];
                x[i + half] = second_half * c[i] + first_half * s[i];
            }
        }
    }
}

OP(norm_rope) {
    long tokens = s[3].i;
    NormRope a = {s[0].p, s[2].p, s[7].p, s[8].p, s[9].p, s[1].i, s[4].i, s[5].i, s[6].f};
    if (tokens * a.heads * a.n < SMALL) NAME(norm_rope_tokens)(&a, 0, tokens);
    else bezel_parallel(NAME(norm_rope_tokens), &a, tokens);
    return 0;
}
