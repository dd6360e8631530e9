/* The residual streams of Gemma 3n: AltUp's prediction and correction, LAuReL, and the input of each layer's own.

   Streams are [tokens, count, n]: those of a token lie together. A router has its norm's multiplier and 1 / n in it. */

enum { MOST_STREAMS = 8 };

INLINE v16f load_some(const float *p, long count) {
    if (count >= LANES) return load16(p);
    v16f v = all16(0);
    memcpy(&v, p, 4 * count);
    return v;
}

INLINE void store_some(float *p, v16f v, long count) { memcpy(p, &v, 4 * (count < LANES ? count : LANES)); }

/* Runs a task over tokens: on every thread where there is more than one of them. */
static int NAME(over_tokens)(bezel_task task, void *arguments, long tokens) {
    if (tokens == 1) task(arguments, 0, 1);
    else bezel_parallel(task, arguments, tokens);
    return 0;
}

typedef struct {
    float *streams, *out, *normed, *mixed;
    const float *router, *coefs, *weight, *fed, *scale;
    long count, n, active;
    float eps;
} AltUp;

/* tanh(router . x / rms(x)), one number a stream. */
INLINE void modalities(const AltUp *a, const float *x, float *found) {
    float scale = inverse_root(x, a->n, a->eps);
    for (long i = 0; i < a->count; i++)
        found[i] = tanhf(scale * sum16(add_products(all16(0), x, a->router + i * a->n, a->n)));
}

/* coefs[i] . modalities, for i < rows. */
INLINE void mixing(const AltUp *a, const float *modal, float *found, long rows) {
    for (long i = 0; i < rows; i++) {
        found[i] = 0;
        for (long j = 0; j < a->count; j++) found[i] += a->coefs[i * a->count + j] * modal[j];
    }
}

INLINE void predict_of(const AltUp *a, long token, const long count) {
    const float *x = a->streams + token * count * a->n;
    float *out = a->out + token * count * a->n, modal[MOST_STREAMS], mix[MOST_STREAMS * MOST_STREAMS];
    modalities(a, x + a->active * a->n, modal);
    mixing(a, modal, mix, count * count);
    for (long i = 0; i < a->n; i += LANES) {
        v16f in[MOST_STREAMS] = {0};
#pragma GCC unroll 8
        for (long s = 0; s < count; s++) in[s] = load_some(x + s * a->n + i, a->n - i);
#pragma GCC unroll 8
        for (long s = 0; s < count; s++) {
            v16f sum = in[s];
#pragma GCC unroll 8
            for (long j = 0; j < count; j++) sum = fma16(all16(mix[s * count + j]), in[j], sum);
            store_some(out + s * a->n + i, sum, a->n - i);
        }
    }
    Norm norm = {out + a->active * a->n, a->weight, a->normed + token * a->n, a->n, a->eps, 0};
    NAME(norm_rows)(&norm, 0, 1);
}

static void NAME(predict_tokens)(void *arguments, long first, long last) {
    const AltUp *a = arguments;
    for (long token = first; token < last; token++)
        if (a->count == 4) predict_of(a, token, 4);
        else predict_of(a, token, a->count);
}

OP(altup_predict) {
    AltUp a = {.streams = s[0].p, .router = s[1].p, .coefs = s[2].p, .weight = s[3].p, .count = s[5].i, .n = s[6].i,
               .active = s[7].i, .eps = s[8].f, .out = s[9].p, .normed = s[10].p};
    return NAME(over_tokens)(NAME(predict_tokens), &a, s[4].i);
}

static void NAME(correct_tokens)(void *arguments, long first, long last) {
    const AltUp *a = arguments;
    for (long token = first; token < last; token++) {
        float *x = a->streams + token * a->count * a->n, *mixed = a->mixed + token * a->n;
        float modal[MOST_STREAMS], share[MOST_STREAMS];
        Norm norm = {a->fed + token * a->n, a->weight, mixed, a->n, a->eps, 1};
        NAME(norm_rows)(&norm, 0, 1);
        modalities(a, mixed, modal);
        mixing(a, modal, share, a->count);
        for (long i = 0; i < a->n; i += LANES) {
            long left = a->n - i;
            v16f news = load_some(mixed + i, left) - load_some(x + a->active * a->n + i, left);
            for (long stream = 0; stream < a->count; stream++) {
                float *at = x + stream * a->n + i;
                v16f sum = fma16(all16(1.0f + share[stream]), news, load_some(at, left));
                store_some(at, sum, left);
                if (stream != a->active) continue;
                if (a->scale) sum *= load_some(a->scale + i, left);
                store_some(a->out + token * a->n + i, sum, left);
            }
        }
    }
}

OP(altup_correct) {
    AltUp a = {.streams = s[0].p, .mixed = s[1].p, .fed = s[2].p, .weight = s[3].p, .router = s[4].p, .coefs = s[5].p,
               .scale = s[6].p, .count = s[8].i, .n = s[9].i, .active = s[10].i, .eps = s[11].f, .out = s[12].p};
    return NAME(over_tokens)(NAME(correct_tokens), &a, s[7].i);
}

static void NAME(inject_tokens)(void *arguments, long first, long last) {
    const AltUp *a = arguments;
    for (long token = first; token < last; token++) {
        const float *x = a->fed + token * a->n;
        float scale = inverse_root(x, a->n, a->eps);
        for (long i = 0; i < a->n; i += LANES) {
            v16f normed = load_some(x + i, a->n - i) * scale * load_some(a->weight + i, a->n - i);
            for (long stream = 1; stream < a->count; stream++) {
                float *at = a->streams + (token * a->count + stream) * a->n + i;
                store_some(at, load_some(at, a->n - i) + normed, a->n - i);
            }
        }
    }
}

OP(altup_inject) {
    AltUp a = {.streams = s[0].p, .fed = s[1].p, .weight = s[2].p, .count = s[4].i, .n = s[5].i, .eps = s[6].f};
    return NAME(over_tokens)(NAME(inject_tokens), &a, s[3].i);
}

/* rms(target) / rms(x), with no less than 1e-5 for the mean square of x. */
INLINE float same_magnitude(const float *target, const float *x, long n) {
    float wanted = sum16(add_products(all16(0), target, target, n)) / (float)n;
    float found = sum16(add_products(all16(0), x, x, n)) / (float)n;
    return sqrtf(wanted) / sqrtf(found < 1e-5f ? 1e-5f : found);
}

static void NAME(expand_tokens)(void *arguments, long first, long last) {
    const AltUp *a = arguments;
    for (long token = first; token < last; token++) {
        const float *x = a->fed + token * a->n, *projected = a->mixed + token * (a->count - 1) * a->n;
        float *out = a->out + token * a->count * a->n;
        memcpy(out, x, 4 * a->n);
        for (long stream = 1; stream < a->count; stream++, projected += a->n) {
            float scale = same_magnitude(x, projected, a->n);
            for (long i = 0; i < a->n; i++) out[stream * a->n + i] = projected[i] * scale;
        }
    }
}

OP(altup_expand) {
    AltUp a = {.fed = s[0].p, .mixed = s[1].p, .count = s[3].i, .n = s[4].i, .out = s[5].p};
    return NAME(over_tokens)(NAME(expand_tokens), &a, s[2].i);
}

/* The streams one after the other, [count, tokens, n]. */
OP(altup_split) {
    const float *x = s[0].p;
    float *out = s[4].p;
    long tokens = s[1].i, count = s[2].i, n = s[3].i;
    for (long token = 0; token < tokens; token++)
        for (long i = 0; i < count; i++, x += n) memcpy(out + (i * tokens + token) * n, x, 4 * n);
    return 0;
}

/* A share of the mean of `count` streams: out (+)= x * rms(target) / rms(x) / count; x as it is where it is target. */
OP(altup_merge) {
    const float *target = s[0].p, *x = s[1].p;
    float *out = s[5].p;
    long tokens = s[2].i, n = s[4].i;
    for (long token = 0; token < tokens; token++, target += n, x += n, out += n) {
        float scale = (x == target ? 1.0f : same_magnitude(target, x, n)) / (float)s[3].i;
        for (long i = 0; i < n; i++) out[i] = (x == target ? 0 : out[i]) + x[i] * scale;
    }
    return 0;
}

typedef struct {
    const float *predictions, *normed, *attended, *low, *attention_norm, *laurel_norm, *next_norm;
    float *mixed, *next;
    long count, n, active;
    float eps;
} Laurel;

static void NAME(laurel_tokens)(void *arguments, long first, long last) {
    const Laurel *a = arguments;
    const float half_root = 0.70710678118f;
    for (long token = first; token < last; token++) {
        const float *x = a->predictions + (token * a->count + a->active) * a->n, *normed = a->normed + token * a->n;
        const float *attended = a->attended + token * a->n, *low = a->low + token * a->n;
        float *mixed = a->mixed + token * a->n;
        float attended_scale = inverse_root(attended, a->n, a->eps), low_scale = inverse_root(low, a->n, a->eps);
        for (long i = 0; i < a->n; i++) {
            float sum = x[i] + attended[i] * attended_scale * a->attention_norm[i];
            mixed[i] = (sum + (normed[i] + low[i] * low_scale * a->laurel_norm[i])) * half_root;
        }
        Norm norm = {mixed, a->next_norm, a->next + token * a->n, a->n, a->eps, 0};
        NAME(norm_rows)(&norm, 0, 1);
    }
}

OP(laurel) {
    Laurel a = {.predictions = s[0].p, .normed = s[1].p, .attended = s[2].p, .low = s[3].p, .attention_norm = s[4].p,
                .laurel_norm = s[5].p, .next_norm = s[6].p, .count = s[8].i, .n = s[9].i, .active = s[10].i,
                .eps = s[11].f, .mixed = s[12].p, .next = s[13].p};
    return NAME(over_tokens)(NAME(laurel_tokens), &a, s[7].i);
}

/* x = gelu(x) * inputs [tokens, layers, n] of one layer. */
OP(gelu_gate) {
    float *x = s[0].p;
    long tokens = s[2].i, n = s[3].i, layers = s[4].i;
    const float *inputs = (const float *)s[1].p + s[5].i * n;
    for (long token = 0; token < tokens; token++, x += n, inputs += layers * n)
        for (long i = 0; i < n; i += LANES)
            store_some(x + i, gelu16(load_some(x + i, n - i)) * load_some(inputs + i, n - i), n - i);
    return 0;
}

/* Norms of heads, in place, whose tokens lie `stride` apart. */
OP(norm_heads) {
    for (long token = 0; token < s[3].i; token++) {
        float *x = (float *)s[0].p + token * s[1].i;
        Norm norm = {x, s[2].p, x, s[5].i, s[6].f, 0};
        NAME(norm_rows)(&norm, 0, s[4].i);
    }
    return 0;
}
