/* Matrices times rows of activations. A row of the result is summed in one order, however many rows there are. */

enum { AHEAD = 8192 /* bytes that are fetched ahead of their use */ };

typedef struct {
    const Matrix *matrix;
    const float *x;
    float *out;
    long tokens;
    int8_t *codes;
    float *scales;
    int32_t *offsets;
    int32_t *halves; /* sums of x over 16 columns, two a group */
    int failed;
} Product;

INLINE v16i dot4_of(const int format, v16i sum, v16i weights, int32_t x) {
    return format == Q8_0 ? dot4_bytes(sum, weights, x) : dot4(sum, weights, x);
}

static void NAME(round_rows)(void *arguments, long first, long last) {
    Product *p = arguments;
    long groups = p->matrix->columns / GROUP;
    int offset = p->matrix->format == Q8_0 ? 128 - BIAS : 8;
    for (long i = first * groups; i < last * groups; i++) {
        v16f low = load16(p->x + i * GROUP), high = load16(p->x + i * GROUP + LANES);
        float largest = max16(max_of(abs16(low), abs16(high)));
        float inverse = largest > 0 ? 127.0f / largest : 0;
        v16f magic = all16(12582912.0f); /* adding it rounds half to even */
        v16i first_codes = __builtin_convertvector((low * inverse + magic) - magic, v16i);
        v16i last_codes = __builtin_convertvector((high * inverse + magic) - magic, v16i);
        v16c bytes[2] = {__builtin_convertvector(first_codes, v16c), __builtin_convertvector(last_codes, v16c)};
        memcpy(p->codes + i * GROUP, bytes, GROUP);
        p->scales[i] = largest / 127.0f;
        p->halves[2 * i] = sum16i(first_codes), p->halves[2 * i + 1] = sum16i(last_codes);
        p->offsets[i] = -(p->halves[2 * i] + p->halves[2 * i + 1]) * offset;
    }
}

INLINE void sixteen_rows(const Product *p, long block, const int tile, const int format) {
    long rows = p->matrix->rows, groups = p->matrix->columns / GROUP, size = group_bytes(format);
    const uint8_t *group = p->matrix->data + block * groups * size;
    v16f sums[WIDE - 1];
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) sums[t] = all16(0);
    for (long g = 0; g < groups; g++, group += size) {
        v16f scale = half16((const uint16_t *)group);
        v16u w[8];
        if (format == Q8_0) memcpy(w, group + 32, 512);
        else
            for (int j = 0; j < 4; j++) {
                v16u both;
                memcpy(&both, group + 32 + 64 * j, 64);
                w[j] = both & 0x0f0f0f0fu;
                w[j + 4] = both >> 4 & 0x0f0f0f0fu;
            }
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++) {
            long at = t * groups + g;
            int32_t x[8];
            memcpy(x, p->codes + at * GROUP, 32);
            v16i dot = (v16i){0} + p->offsets[at];
            for (int j = 0; j < 8; j++) dot = dot4_of(format, dot, (v16i)w[j], x[j]);
            sums[t] += __builtin_convertvector(dot, v16f) * (scale * p->scales[at]);
        }
    }
    long count = rows - block * LANES < LANES ? rows - block * LANES : LANES;
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) memcpy(p->out + t * rows + block * LANES, &sums[t], 4 * count);
}

/* All tokens, fewer than WIDE, share each group of weights that is unpacked. */
INLINE void grouped_of(const Product *p, long first, long last, const int format) {
    for (long block = first; block < last; block++) switch (p->tokens) {
        case 1: sixteen_rows(p, block, 1, format); break;
        case 2: sixteen_rows(p, block, 2, format); break;
        case 3: sixteen_rows(p, block, 3, format); break;
        case 4: sixteen_rows(p, block, 4, format); break;
        default: sixteen_rows(p, block, 5, format);
        }
}

static void NAME(grouped)(void *arguments, long first, long last) {
    const Product *p = arguments;
    if (p->matrix->format == Q8_0) grouped_of(p, first, last, Q8_0);
    else grouped_of(p, first, last, Q4_0);
}

/* Two blocks of 16 rows, unpacked once to bytes and floats, times all tokens, `tile` of them at a time. */
INLINE void unpack_block(const Matrix *m, long block, uint8_t *codes, float *scales) {
    long groups = m->columns / GROUP, size = group_bytes(m->format);
    const uint8_t *group = m->data + block * groups * size;
    for (long g = 0; g < groups; g++, group += size, codes += 512, scales += LANES) {
        store16(scales, half16((const uint16_t *)group));
        if (m->format == Q8_0) memcpy(codes, group + 32, 512);
        else
            for (int j = 0; j < 4; j++) {
                v16u both, low, high;
                memcpy(&both, group + 32 + 64 * j, 64);
                low = both & 0x0f0f0f0fu, high = both >> 4 & 0x0f0f0f0fu;
                memcpy(codes + 64 * j, &low, 64), memcpy(codes + 256 + 64 * j, &high, 64);
            }
    }
}

INLINE void two_blocks(const Product *p, const uint8_t *codes, const float *scales, long block, long token,
                       const int tile, const int format) {
    long rows = p->matrix->rows, groups = p->matrix->columns / GROUP;
    v16f first[WIDE], second[WIDE];
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) first[t] = second[t] = all16(0);
    for (long g = 0; g < groups; g++) {
        v16i a[WIDE], b[WIDE];
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++) a[t] = b[t] = (v16i){0} + p->offsets[(token + t) * groups + g];
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
            v16i w, v;
            memcpy(&w, codes + g * 512 + 64 * j, 64);
            memcpy(&v, codes + (groups + g) * 512 + 64 * j, 64);
#pragma GCC unroll 8
            for (int t = 0; t < tile; t++) {
                int32_t x;
                memcpy(&x, p->codes + ((token + t) * groups + g) * GROUP + 4 * j, 4);
                a[t] = dot4_of(format, a[t], w, x), b[t] = dot4_of(format, b[t], v, x);
            }
        }
        v16f scale = load16(scales + g * LANES), other = load16(scales + (groups + g) * LANES);
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++) {
            float of_x = p->scales[(token + t) * groups + g];
            first[t] += __builtin_convertvector(a[t], v16f) * (scale * of_x);
            second[t] += __builtin_convertvector(b[t], v16f) * (other * of_x);
        }
    }
    long left = rows - block * LANES, count = left < 2 * LANES ? left : 2 * LANES;
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) {
        float *out = p->out + (token + t) * rows + block * LANES;
        memcpy(out, &first[t], 4 * (count < LANES ? count : LANES));
        if (count > LANES) memcpy(out + LANES, &second[t], 4 * (count - LANES));
    }
}

INLINE void many_tokens_of(Product *p, long first, long last, const int format) {
    long groups = p->matrix->columns / GROUP, blocks = (p->matrix->rows + LANES - 1) / LANES;
    uint8_t *codes = aligned_alloc(64, 2 * groups * (512 + 64));
    if (!codes) {
        p->failed = 1;
        return;
    }
    float *scales = (float *)(codes + 2 * groups * 512);
    memset(codes, 0, 2 * groups * (512 + 64));
    for (long pair = first; pair < last; pair++) {
        for (long i = 0; i < 2 && 2 * pair + i < blocks; i++)
            unpack_block(p->matrix, 2 * pair + i, codes + i * groups * 512, scales + i * groups * LANES);
        long token = 0;
        for (; token + TOKENS <= p->tokens; token += TOKENS)
            two_blocks(p, codes, scales, 2 * pair, token, TOKENS, format);
        for (; token + 2 <= p->tokens; token += 2) two_blocks(p, codes, scales, 2 * pair, token, 2, format);
        for (; token < p->tokens; token++) two_blocks(p, codes, scales, 2 * pair, token, 1, format);
    }
    free(codes);
}

/* Parallel over pairs of blocks. */
static void NAME(many_tokens)(void *arguments, long first, long last) {
    Product *p = arguments;
    if (p->matrix->format == Q8_0) many_tokens_of(p, first, last, Q8_0);
    else many_tokens_of(p, first, last, Q4_0);
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

/* 16 weights of a row stored as F16 or F32. */
INLINE v16f whole16(int format, const uint8_t *row, long column) {
    if (format == F16) return half16((const uint16_t *)(row + 2 * column));
    return load16((const float *)(row + 4 * column));
}

/* `rows` rows (4 or 1) times `tile` tokens, each product in the lanes' order of add_products. */
INLINE void whole_tile(const Product *p, long row, const int rows, long token, const int tile, const int format) {
    long columns = p->matrix->columns, stride = row_bytes(format, columns), i = 0;
    const uint8_t *weights = p->matrix->data + row * stride;
    v16f sums[4][4];
#pragma GCC unroll 4
    for (int t = 0; t < tile; t++)
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) sums[t][r] = all16(0);
    for (; i + LANES <= columns; i += LANES) {
        v16f w[4];
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            const uint8_t *at = weights + r * stride;
            w[r] = whole16(format, at, i);
            if (tile == 1) __builtin_prefetch(at + row_bytes(format, i) + AHEAD);
        }
#pragma GCC unroll 4
        for (int t = 0; t < tile; t++) {
            v16f x = load16(p->x + (token + t) * columns + i);
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++) sums[t][r] = fma16(w[r], x, sums[t][r]);
        }
    }
    if (i < columns)
        for (int r = 0; r < rows; r++) {
            uint8_t rest[64] = {0};
            long size = row_bytes(format, 1);
            memcpy(rest, weights + r * stride + size * i, size * (columns - i));
            v16f w = whole16(format, rest, 0);
            for (int t = 0; t < tile; t++) {
                v16f x = all16(0);
                memcpy(&x, p->x + (token + t) * columns + i, 4 * (columns - i));
                sums[t][r] = fma16(w, x, sums[t][r]);
            }
        }
#pragma GCC unroll 4
    for (int t = 0; t < tile; t++) {
        float found[4];
        sums_of_four(sums[t], found);
        memcpy(p->out + (token + t) * p->matrix->rows + row, found, 4 * rows);
    }
}

INLINE void whole_rows(const Product *p, long first, long last, const int format) {
    for (long row = first; row < last;) {
        int four = row + 4 <= last;
        for (long token = 0; token < p->tokens;)
            if (four && token + 4 <= p->tokens) whole_tile(p, row, 4, token, 4, format), token += 4;
            else if (four) whole_tile(p, row, 4, token++, 1, format);
            else whole_tile(p, row, 1, token++, 1, format);
        row += four ? 4 : 1;
    }
}

/* A block of 16 interleaved BF16 rows times `tile` tokens: even and odd columns are summed apart. */
INLINE void paired_rows(const Product *p, long block, long token, const int tile) {
    long rows = p->matrix->rows, columns = p->matrix->columns, pairs = (columns + 1) / 2;
    const uint8_t *weights = p->matrix->data + block * pairs * 64;
    v16f even[TILE], odd[TILE];
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) even[t] = odd[t] = all16(0);
    for (long i = 0; i < columns / 2; i++) {
        v16u both;
        memcpy(&both, weights + 64 * i, 64);
        v16f low = (v16f)(both << 16), high = (v16f)(both & 0xffff0000u);
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++) {
            const float *x = p->x + (token + t) * columns + 2 * i;
            even[t] = fma16(low, all16(x[0]), even[t]), odd[t] = fma16(high, all16(x[1]), odd[t]);
        }
    }
    if (columns % 2) {
        v16u both;
        memcpy(&both, weights + 64 * (pairs - 1), 64);
        for (int t = 0; t < tile; t++)
            even[t] = fma16((v16f)(both << 16), all16(p->x[(token + t + 1) * columns - 1]), even[t]);
    }
    long count = rows - block * LANES < LANES ? rows - block * LANES : LANES;
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) {
        v16f sum = even[t] + odd[t];
        memcpy(p->out + (token + t) * rows + block * LANES, &sum, 4 * count);
    }
}

static void NAME(paired)(void *arguments, long first, long last) {
    const Product *p = arguments;
    for (long block = first; block < last; block++) {
        long token = 0;
        for (; token + TILE <= p->tokens; token += TILE) paired_rows(p, block, token, TILE);
        for (; token < p->tokens; token++) paired_rows(p, block, token, 1);
    }
}

static void NAME(whole)(void *arguments, long first, long last) {
    const Product *p = arguments;
    if (p->matrix->format == F16) whole_rows(p, first, last, F16);
    else whole_rows(p, first, last, F32);
}

INLINE v16f small16(const uint8_t *p, int is_signed) {
    v16c bytes;
    memcpy(&bytes, p, 16);
    v16i wide = __builtin_convertvector(bytes, v16i);
    return __builtin_convertvector(is_signed ? wide : wide & 255, v16f);
}

/* A block of 16 rows of a K matrix times `tile` tokens. */
INLINE void k_rows(const Product *p, long block, long token, const int tile, const int format) {
    long rows = p->matrix->rows, blocks = p->matrix->columns / 256, groups = p->matrix->columns / GROUP;
    const uint8_t *at = p->matrix->data + block * blocks * k_bytes(format);
    v16f sums[4];
#pragma GCC unroll 4
    for (int t = 0; t < tile; t++) sums[t] = all16(0);
    for (long g = 0; g < groups; g++, at += k_group(format)) {
        v16f d, minimum = all16(0);
        const uint8_t *head = at - g % 8 * k_group(format);
        if (g % 8 == 0) at += k_head(format);
        else head -= k_head(format);
        d = half16((const uint16_t *)head);
        if (format != Q6_K) minimum = half16((const uint16_t *)(head + 32)) * small16(at + 16, 0);
        v16f scale = d * small16(at, format == Q6_K), other = d * small16(at + 16, 1);
        v16u w[8];
        if (format != Q4_K) memcpy(w, at + 32, 512);
        else
            for (int j = 0; j < 4; j++) {
                v16u both;
                memcpy(&both, at + 32 + 64 * j, 64);
                w[j] = both & 0x0f0f0f0fu, w[j + 4] = both >> 4 & 0x0f0f0f0fu;
            }
#pragma GCC unroll 4
        for (int t = 0; t < tile; t++) {
            long place = (token + t) * groups + g;
            const int32_t *halves = p->halves + 2 * place;
            float of_x = p->scales[place];
            int32_t x[8];
            memcpy(x, p->codes + place * GROUP, 32);
            v16i low = (v16i){0}, high = low;
            if (format == Q6_K) low -= 32 * halves[0], high -= 32 * halves[1];
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) low = dot4(low, (v16i)w[j], x[j]), high = dot4(high, (v16i)w[j + 4], x[j + 4]);
            if (format == Q6_K)
                sums[t] += (__builtin_convertvector(low, v16f) * scale + __builtin_convertvector(high, v16f) * other) * of_x;
            else
                sums[t] += (__builtin_convertvector(low + high, v16f) * scale -
                            minimum * (float)(halves[0] + halves[1])) * of_x;
        }
    }
    long count = rows - block * LANES < LANES ? rows - block * LANES : LANES;
#pragma GCC unroll 4
    for (int t = 0; t < tile; t++) memcpy(p->out + (token + t) * rows + block * LANES, &sums[t], 4 * count);
}

INLINE void k_blocks_of(const Product *p, long first, long last, const int format) {
    for (long block = first; block < last; block++) {
        long token = 0;
        for (; token + 4 <= p->tokens; token += 4) k_rows(p, block, token, 4, format);
        for (; token < p->tokens; token++) k_rows(p, block, token, 1, format);
    }
}

static void NAME(k_blocks)(void *arguments, long first, long last) {
    const Product *p = arguments;
    if (p->matrix->format == Q4_K) k_blocks_of(p, first, last, Q4_K);
    else if (p->matrix->format == Q5_K) k_blocks_of(p, first, last, Q5_K);
    else k_blocks_of(p, first, last, Q6_K);
}

/* Returns 0, or 1 where memory for the rounded activations is lacking. */
OP(linear) {
    int format = s[0].i;
    long rows = s[1].i, columns = s[2].i, tokens = s[5].i;
    Matrix matrix = {format, rows, columns, s[3].p};
    Product product = {&matrix, s[4].p, s[6].p, tokens, 0, 0, 0, 0, 0};
    if (format == BF16) {
        bezel_parallel(NAME(paired), &product, (rows + LANES - 1) / LANES);
        return 0;
    }
    if (format == F32 || format == F16) {
        bezel_parallel(NAME(whole), &product, rows);
        return 0;
    }
    long groups = tokens * (columns / GROUP);
    uint8_t *memory = malloc(groups * (GROUP + 16) + 1);
    if (!memory) return 1;
    product.scales = (float *)memory;
    product.offsets = (int32_t *)(memory + 4 * groups);
    product.halves = (int32_t *)(memory + 8 * groups);
    product.codes = (int8_t *)(memory + 16 * groups);
    bezel_parallel(NAME(round_rows), &product, tokens);
    long blocks = (rows + LANES - 1) / LANES;
    if (is_k(format)) bezel_parallel(NAME(k_blocks), &product, blocks);
    else if (tokens < WIDE) bezel_parallel(NAME(grouped), &product, blocks);
    else bezel_parallel(NAME(many_tokens), &product, (blocks + 1) / 2);
    free(memory);
    return product.failed;
}
