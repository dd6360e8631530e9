/* What towers over images need beside products and attention: layer norm, and biases with or without GELU. */

typedef struct {
    float *x;
    const float *weight, *bias;
    float *out;
    long n;
    float eps;
} LayerNorm;

static void NAME(layer_norm_rows)(void *arguments, long first, long last) {
    const LayerNorm *a = arguments;
    for (long row = first; row < last; row++) {
        const float *x = a->x + row * a->n;
        float *out = a->out + row * a->n;
        v16f sum = all16(0);
        for (long i = 0; i < a->n; i += LANES) sum += load_some(x + i, a->n - i);
        float mean = sum16(sum) / (float)a->n;
        for (long i = 0; i < a->n; i++) out[i] = x[i] - mean;
        float scale = inverse_root(out, a->n, a->eps);
        for (long i = 0; i < a->n; i++) out[i] = out[i] * scale * a->weight[i] + a->bias[i];
    }
}

OP(layer_norm) {
    long rows = s[3].i;
    LayerNorm norm = {s[0].p, s[1].p, s[2].p, s[6].p, s[4].i, s[5].f};
    if (rows * norm.n < SMALL) NAME(layer_norm_rows)(&norm, 0, rows);
    else bezel_parallel(NAME(layer_norm_rows), &norm, rows);
    return 0;
}

typedef struct {
    float *x;
    const float *bias;
    long n;
    int gelu;
} Bias;

static void NAME(bias_rows)(void *arguments, long first, long last) {
    const Bias *a = arguments;
    for (long row = first; row < last; row++)
        for (long i = 0; i < a->n; i += LANES) {
            float *x = a->x + row * a->n + i;
            v16f v = load_some(x, a->n - i) + load_some(a->bias + i, a->n - i);
            store_some(x, a->gelu ? gelu16(v) : v, a->n - i);
        }
}

/* x gains a bias, and becomes GELU of that where it is asked for. */
OP(add_bias) {
    long rows = s[2].i;
    Bias bias = {s[0].p, s[1].p, s[3].i, s[4].i};
    if (rows * bias.n < SMALL) NAME(bias_rows)(&bias, 0, rows);
    else bezel_parallel(NAME(bias_rows), &bias, rows);
    return 0;
}
