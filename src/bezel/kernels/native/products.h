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

enum { PART = LANES / PARTS, /* rows */ PART_BYTES = 64 / PARTS };

/* Four columns of 16 rows, and the four that lie 16 further: in the halves of the same bytes, or 256 bytes on. */
INLINE void get_codes(vpi *near, vpi *far, const uint8_t *at, const int halves) {
    EVERY_PART {
        vpi codes = load_codes(at + part * PART_BYTES);
        near[part] = halves ? codes & 0x0f0f0f0f : codes;
        far[part] = halves ? codes >> 4 & 0x0f0f0f0f : load_codes(at + 256 + part * PART_BYTES);
    }
}

/* dots[t] of `tile` tokens gain 4 columns of 16 rows. */
INLINE void add_dots(vpi dots[][PARTS], const vpi *weights, const int8_t *x, long stride, const int tile,
                     const int format) {
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) {
        int32_t four;
        memcpy(&four, x + t * stride, 4);
        EVERY_PART dots[t][part] =
            format == Q8_0 ? dot4_bytes(dots[t][part], weights[part], four) : dot4(dots[t][part], weights[part], four);
    }
}

/* Rows of the result, as many of the 16 as there are. */
INLINE void put_rows(float *out, const vpf *sums, long count) {
    EVERY_PART {
        long left = count - part * PART;
        if (left >= PART) memcpy(out + part * PART, &sums[part], PART_BYTES);
        else if (left > 0) memcpy(out + part * PART, &sums[part], 4 * left);
    }
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
    long rows = p->matrix->rows, columns = p->matrix->columns, groups = columns / GROUP, size = group_bytes(format);
    const uint8_t *group = p->matrix->data + block * groups * size;
    vpf sums[WIDE - 1][PARTS];
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) EVERY_PART sums[t][part] = (vpf){0};
    for (long g = 0; g < groups; g++, group += size) {
        const int8_t *x = p->codes + g * GROUP;
        vpi dots[WIDE - 1][PARTS];
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++) EVERY_PART dots[t][part] = (vpi){0} + p->offsets[t * groups + g];
#pragma GCC unroll 8
        for (int j = 0; j < 4; j++) {
            vpi w[PARTS], v[PARTS];
            get_codes(w, v, group + 32 + 64 * j, format != Q8_0);
            add_dots(dots, w, x + 4 * j, columns, tile, format);
            add_dots(dots, v, x + 16 + 4 * j, columns, tile, format);
        }
        vpf scale[PARTS];
        EVERY_PART scale[part] = half_part((const uint16_t *)group + part * PART);
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++)
            EVERY_PART sums[t][part] +=
                __builtin_convertvector(dots[t][part], vpf) * (scale[part] * p->scales[t * groups + g]);
    }
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) put_rows(p->out + t * rows + block * LANES, sums[t], rows - block * LANES);
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
    long rows = p->matrix->rows, columns = p->matrix->columns, groups = columns / GROUP;
    vpf first[WIDE][PARTS], second[WIDE][PARTS];
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) EVERY_PART first[t][part] = second[t][part] = (vpf){0};
    for (long g = 0; g < groups; g++) {
        const int8_t *x = p->codes + token * columns + g * GROUP;
        vpi a[WIDE][PARTS], b[WIDE][PARTS];
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++)
            EVERY_PART a[t][part] = b[t][part] = (vpi){0} + p->offsets[(token + t) * groups + g];
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
            const uint8_t *at = codes + g * 512 + 64 * j, *other = at + groups * 512;
            vpi w[PARTS], v[PARTS];
            EVERY_PART w[part] = load_codes(at + part * PART_BYTES), v[part] = load_codes(other + part * PART_BYTES);
            add_dots(a, w, x + 4 * j, columns, tile, format);
            add_dots(b, v, x + 4 * j, columns, tile, format);
        }
        const float *scale = scales + g * LANES, *other = scale + groups * LANES;
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++) {
            float of_x = p->scales[(token + t) * groups + g];
            EVERY_PART {
                vpf one = load_part(scale + part * PART) * of_x, two = load_part(other + part * PART) * of_x;
                first[t][part] += __builtin_convertvector(a[t][part], vpf) * one;
                second[t][part] += __builtin_convertvector(b[t][part], vpf) * two;
            }
        }
    }
    long left = rows - block * LANES;
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) {
        float *out = p->out + (token + t) * rows + block * LANES;
        put_rows(out, first[t], left);
        put_rows(out + LANES, second[t], left - LANES);
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
    for (long pair = first; pair < last; pair++) {
        for (long i = 0; i < 2; i++) {
            uint8_t *to = codes + i * groups * 512;
            if (2 * pair + i < blocks) unpack_block(p->matrix, 2 * pair + i, to, scales + i * groups * LANES);
            else memset(to, 0, groups * 512), memset(scales + i * groups * LANES, 0, 4 * groups * LANES);
        }
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

enum { PAIRED = TOKENS < 6 ? TOKENS : TILE };

/* A block of 16 interleaved BF16 rows times `tile` tokens: even and odd columns are summed apart. */
INLINE void paired_rows(const Product *p, long block, long token, const int tile) {
    long rows = p->matrix->rows, columns = p->matrix->columns, pairs = (columns + 1) / 2;
    const uint8_t *weights = p->matrix->data + block * pairs * 64;
    const float *x = p->x + token * columns;
    vpf even[PAIRED][PARTS], odd[PAIRED][PARTS];
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) EVERY_PART even[t][part] = odd[t][part] = (vpf){0};
    for (long i = 0; i < columns / 2; i++) EVERY_PART {
        vpi both = load_codes(weights + 64 * i + part * PART_BYTES);
        vpf low = (vpf)(both << 16), high = (vpf)(both & (int32_t)0xffff0000);
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++) {
            const float *two = x + t * columns + 2 * i;
            even[t][part] = fma_part(low, two[0] - (vpf){0}, even[t][part]);
            odd[t][part] = fma_part(high, two[1] - (vpf){0}, odd[t][part]);
        }
    }
    if (columns % 2) EVERY_PART {
        vpf last = (vpf)(load_codes(weights + 64 * (pairs - 1) + part * PART_BYTES) << 16);
        for (int t = 0; t < tile; t++)
            even[t][part] = fma_part(last, x[(t + 1) * columns - 1] - (vpf){0}, even[t][part]);
    }
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) {
        EVERY_PART even[t][part] += odd[t][part];
        put_rows(p->out + (token + t) * rows + block * LANES, even[t], rows - block * LANES);
    }
}

static void NAME(paired)(void *arguments, long first, long last) {
    const Product *p = arguments;
    for (long block = first; block < last; block++) {
        long token = 0;
        for (; token + PAIRED <= p->tokens; token += PAIRED) paired_rows(p, block, token, PAIRED);
        for (; token < p->tokens; token++) paired_rows(p, block, token, 1);
    }
}

static void NAME(whole)(void *arguments, long first, long last) {
    const Product *p = arguments;
    if (p->matrix->format == F16) whole_rows(p, first, last, F16);
    else whole_rows(p, first, last, F32);
}

/* Small scales, a byte a row. */
INLINE vpf small_part(const uint8_t *p, int is_signed) {
    vpi wide;
    for (int i = 0; i < PART; i++) wide[i] = is_signed ? (int8_t)p[i] : p[i];
    return __builtin_convertvector(wide, vpf);
}

enum { K_TILE = TOKENS < 4 ? TOKENS : 4 };

/* A block of 16 rows of a K matrix times `tile` tokens. Only Q6_K has scales of its own for either half of a group. */
INLINE void k_rows(const Product *p, long block, long token, const int tile, const int format) {
    long rows = p->matrix->rows, columns = p->matrix->columns, groups = columns / GROUP;
    const uint8_t *at = p->matrix->data + block * (columns / 256) * k_bytes(format), *head = at;
    vpf sums[K_TILE][PARTS];
#pragma GCC unroll 4
    for (int t = 0; t < tile; t++) EVERY_PART sums[t][part] = (vpf){0};
    for (long g = 0; g < groups; g++, at += k_group(format)) {
        if (g % 8 == 0) head = at, at += k_head(format);
        const int8_t *x = p->codes + token * columns + g * GROUP;
        const int32_t *halves = p->halves + 2 * (token * groups + g);
        vpi low[K_TILE][PARTS], high[K_TILE][PARTS];
#pragma GCC unroll 4
        for (int t = 0; t < tile; t++) EVERY_PART {
            low[t][part] = high[t][part] = (vpi){0};
            if (format == Q6_K)
                low[t][part] -= 32 * halves[2 * t * groups], high[t][part] -= 32 * halves[2 * t * groups + 1];
        }
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            vpi w[PARTS], v[PARTS];
            get_codes(w, v, at + 32 + 64 * j, format == Q4_K);
            add_dots(low, w, x + 4 * j, columns, tile, format);
            add_dots(format == Q6_K ? high : low, v, x + 16 + 4 * j, columns, tile, format);
        }
        EVERY_PART {
            vpf d = half_part((const uint16_t *)head + part * PART), scale = d, other = d;
            scale *= small_part(at + part * PART, format == Q6_K);
            if (format == Q6_K) other *= small_part(at + 16 + part * PART, 1);
            else other = half_part((const uint16_t *)head + 16 + part * PART) * small_part(at + 16 + part * PART, 0);
#pragma GCC unroll 4
            for (int t = 0; t < tile; t++) {
                const int32_t *half = halves + 2 * t * groups;
                float of_x = p->scales[(token + t) * groups + g];
                vpf sum = __builtin_convertvector(low[t][part], vpf) * scale;
                if (format == Q6_K) sum += __builtin_convertvector(high[t][part], vpf) * other;
                else sum -= other * (float)(half[0] + half[1]);
                sums[t][part] += sum * of_x;
            }
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < tile; t++)
        put_rows(p->out + (token + t) * rows + block * LANES, sums[t], rows - block * LANES);
}

INLINE void k_blocks_of(const Product *p, long first, long last, const int format) {
    for (long block = first; block < last; block++) {
        long token = 0;
        for (; token + K_TILE <= p->tokens; token += K_TILE) k_rows(p, block, token, K_TILE, format);
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
    if (!tokens) return 0; /* a chunk inside a prompt wants no logits */
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
