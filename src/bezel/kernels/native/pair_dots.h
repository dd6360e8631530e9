/* BF16 matrices, in blocks of 16 interleaved rows, times rows of activations, by dot products of BF16 and of int8.

   x = high + rest, high being x rounded to BF16. The products of high are exact and summed in float32. The rest is at
   most 2^-8 of x, so eight bits do for it and for the weights that it meets: both are rounded to int8 by the largest of
   their row, and their products are summed as whole numbers. Half as many bits of x as in float32 remain, at two thirds
   of the products that a second BF16 for the rest would take. */

typedef struct {
    const Matrix *matrix;
    const float *x;
    float *out;
    int ahead; /* as in Product */
    long tokens, quads, stride; /* columns, by four; the same of a row of x, where zeros end it */
    int32_t *high;      /* of each row: two columns at a time */
    int32_t *rest;      /* four columns at a time */
    float *scales;      /* of the rest */
    int32_t *offsets;   /* what its products start from: weights have 128 too much */
} Pairs;

/* 16 columns of x, with zeros behind the last, rounded to BF16, and what that leaves. */
INLINE v16f high_of(const float *x, long left, v16f *rest) {
    v16f whole = all16(0);
    if (left < LANES) memcpy(&whole, x, 4 * left);
    else whole = load16(x);
    v16f high = rounded_bf16(whole);
    *rest = whole - high;
    return high;
}

/* Parallel over rows of x. */
static void NAME(split_rows)(void *arguments, long first, long last) {
    const Pairs *p = arguments;
    long columns = p->matrix->columns;
    const v16f magic = all16(12582912.0f); /* adding it rounds half to even */
    for (long row = first; row < last; row++) {
        const float *x = p->x + row * columns;
        uint16_t *high = (uint16_t *)(p->high + row * 2 * p->stride);
        int8_t *rest = (int8_t *)(p->rest + row * p->stride);
        v16f beyond, most = all16(0);
        for (long i = 0; i < columns; i += LANES) {
            store_upper16(high + i, high_of(x + i, columns - i, &beyond));
            most = max_of(most, abs16(beyond));
        }
        float largest = max16(most), inverse = largest > 0 ? 127.0f / largest : 0;
        v16i sum = {0};
        for (long i = 0; i < columns; i += LANES) {
            high_of(x + i, columns - i, &beyond);
            v16i codes = __builtin_convertvector((beyond * inverse + magic) - magic, v16i);
            store_bytes16(rest + i, codes);
            sum += codes;
        }
        p->scales[row] = largest / 127.0f, p->offsets[row] = -128 * sum16i(sum);
    }
}

/* Four columns of 16 rows as int8, to which 128 is added, in one vector. */
INLINE vpi four_bytes(vpi first, vpi second, vpf inverse) {
    const vpf magic = (vpf){0} + (12582912.0f + 128.0f);
    const int32_t upper = (int32_t)0xffff0000;
    vpi a = (vpi)fma_part((vpf)(first << 16), inverse, magic), b = (vpi)fma_part((vpf)(first & upper), inverse, magic);
    vpi c = (vpi)fma_part((vpf)(second << 16), inverse, magic);
    vpi d = (vpi)fma_part((vpf)(second & upper), inverse, magic);
    vpi low = (a & 0xff) | (b << 8 & ~0xff), high = (c << 16 & 0xff0000) | (d << 24 & ~0xff0000);
    return (low & 0xffff) | (high & ~0xffff);
}

INLINE vpf inverse_of(vpf largest) {
    return (vpf)((vpi)(127.0f / largest) & (largest > 0)); /* a row of zeros has none */
}

/* What high and the rest gave, put together into rows of the result. */
INLINE void put_sums(const Pairs *p, long block, long token, vpf sum, vpi whole, vpf largest) {
    sum += __builtin_convertvector(whole, vpf) * (largest / 127.0f * p->scales[token]);
    put_rows(p->out + token * p->matrix->rows + block * LANES, &sum, p->matrix->rows - block * LANES);
}

/* A block of 16 rows times `tile` tokens from `token` on, which share what is made of the weights. */
INLINE void paired_rows(const Pairs *p, long block, long token, const int tile) {
    long quads = p->quads, stride = p->stride;
    const uint8_t *weights = p->matrix->data + block * pair_bytes(p->matrix->columns);
    vpf largest = load_part((const float *)weights), inverse = inverse_of(largest), sums[TOKENS];
    vpi wholes[TOKENS];
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) sums[t] = (vpf){0}, wholes[t] = (vpi){0} + p->offsets[token + t];
    weights += 64;
    for (long i = 0; i < quads; i++) {
        if (p->ahead) ask_ahead(weights + 128 * i, 128);
        vpi first = load_codes(weights + 128 * i), second = load_codes(weights + 128 * i + 64);
        vpi bytes = four_bytes(first, second, inverse);
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++) {
            const int32_t *high = p->high + (token + t) * 2 * stride;
            sums[t] = dot2(dot2(sums[t], first, high[2 * i]), second, high[2 * i + 1]);
            wholes[t] = dot4(wholes[t], bytes, p->rest[(token + t) * stride + i]);
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) put_sums(p, block, token + t, sums[t], wholes[t], largest);
}

/* Two blocks times `tile` tokens; `bytes` holds both blocks' weights as four_bytes. */
INLINE void two_paired(const Pairs *p, const uint8_t *bytes, long block, long token, const int tile) {
    long quads = p->quads, stride = p->stride, size = pair_bytes(p->matrix->columns);
    const uint8_t *weights = p->matrix->data + block * size;
    vpf sums[2][TOKENS];
    vpi wholes[2][TOKENS];
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++)
#pragma GCC unroll 2
        for (int b = 0; b < 2; b++) sums[b][t] = (vpf){0}, wholes[b][t] = (vpi){0} + p->offsets[token + t];
    for (long i = 0; i < quads; i++) {
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
            const uint8_t *at = weights + 64 + 128 * i + 64 * k;
            vpi w = load_codes(at), v = load_codes(at + size);
#pragma GCC unroll 8
            for (int t = 0; t < tile; t++) {
                int32_t two = p->high[(token + t) * 2 * stride + 2 * i + k];
                sums[0][t] = dot2(sums[0][t], w, two), sums[1][t] = dot2(sums[1][t], v, two);
            }
        }
        vpi w = load_codes(bytes + 64 * i), v = load_codes(bytes + 64 * (quads + i));
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++) {
            int32_t four = p->rest[(token + t) * stride + i];
            wholes[0][t] = dot4(wholes[0][t], w, four), wholes[1][t] = dot4(wholes[1][t], v, four);
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++)
#pragma GCC unroll 2
        for (int b = 0; b < 2; b++) {
            vpf largest = load_part((const float *)(weights + b * size));
            put_sums(p, block + b, token + t, sums[b][t], wholes[b][t], largest);
        }
}

INLINE void make_bytes(const Pairs *p, long block, uint8_t *bytes) {
    const uint8_t *weights = p->matrix->data + block * pair_bytes(p->matrix->columns);
    vpf inverse = inverse_of(load_part((const float *)weights));
    for (long i = 0; i < p->quads; i++) {
        const uint8_t *at = weights + 64 + 128 * i;
        vpi four = four_bytes(load_codes(at), load_codes(at + 64), inverse);
        memcpy(bytes + 64 * i, &four, 64);
    }
}

/* Parallel over blocks. Where there are many tokens, two blocks at a time are made bytes of once for all of them. */
static void NAME(paired)(void *arguments, long first, long last) {
    Pairs *p = arguments;
    uint8_t *bytes = p->tokens < TOKENS || last - first < 2 ? 0 : aligned_alloc(64, 2 * 64 * p->quads);
    for (; bytes && first + 2 <= last; first += 2) {
        make_bytes(p, first, bytes), make_bytes(p, first + 1, bytes + 64 * p->quads);
        long token = 0;
        for (; token + TOKENS <= p->tokens; token += TOKENS) two_paired(p, bytes, first, token, TOKENS);
        for (; token + 2 <= p->tokens; token += 2) two_paired(p, bytes, first, token, 2);
        if (token < p->tokens) two_paired(p, bytes, first, token, 1);
    }
    free(bytes);
    for (; first < last; first++)
        for (long token = 0; token < p->tokens; token += TOKENS) switch (p->tokens - token) {
            case 1: paired_rows(p, first, token, 1); break;
            case 2: paired_rows(p, first, token, 2); break;
            case 3: paired_rows(p, first, token, 3); break;
            case 4: paired_rows(p, first, token, 4); break;
            case 5: paired_rows(p, first, token, 5); break;
            default: paired_rows(p, first, token, TOKENS);
            }
}

/* Returns 0, or 1 where memory for the rounded activations is lacking. */
INLINE int paired_product(const Product *product) {
    const Matrix *m = product->matrix;
    Pairs p = {.matrix = m, .x = product->x, .out = product->out, .tokens = product->tokens, .ahead = product->ahead};
    p.quads = (m->columns + 3) / 4, p.stride = (m->columns + LANES - 1) / LANES * 4;
    p.high = malloc(p.tokens * (12 * p.stride + 8) + 1);
    if (!p.high) return 1;
    p.rest = p.high + p.tokens * 2 * p.stride;
    p.scales = (float *)(p.rest + p.tokens * p.stride);
    p.offsets = (int32_t *)(p.scales + p.tokens);
    bezel_parallel(NAME(split_rows), &p, p.tokens);
    bezel_parallel(NAME(paired), &p, (m->rows + LANES - 1) / LANES);
    free(p.high);
    return 0;
}
