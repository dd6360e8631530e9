/* Matrices times rows of activations. A row of the result is summed in one order, however many rows there are. */

typedef struct {
    const Matrix *matrix;
    const float *x;
    float *out;
    long tokens;
    int8_t *codes;
    float *scales;
    int32_t *offsets;
    int32_t *halves; /* sums of x over 16 columns, two a group */
    int ahead;       /* whether weights are asked for before their turn */
    int failed;
} Product;

enum { PART = LANES / PARTS, /* rows */ PART_BYTES = 64 / PARTS };

/* Bits of every lane moved up, or down where `by` is negative. */
INLINE vpi moved(vpi v, const int by) { return by < 0 ? v >> -by : v << by; }

/* Of a group's codes, chunk j: four columns of 16 rows, and the four that lie 16 further. */
INLINE void get_codes(vpi *near, vpi *far, const uint8_t *codes, const int j, const int format) {
    EVERY_PART {
        const uint8_t *at = codes + part * PART_BYTES;
        vpi both = load_codes(at + 64 * j);
        if (format == Q8_0) {
            near[part] = both, far[part] = load_codes(at + 256 + 64 * j);
            continue;
        }
        near[part] = both & 0x0f0f0f0f, far[part] = both >> 4 & 0x0f0f0f0f;
        if (further_bits(format) == 1) {
            vpi bits = load_codes(at + 256);
            near[part] |= moved(bits, 4 - j) & 0x10101010, far[part] |= moved(bits, -j) & 0x10101010;
        } else if (further_bits(format) == 2) {
            near[part] |= moved(load_codes(at + 256), 4 - 2 * j) & 0x30303030;
            far[part] |= moved(load_codes(at + 320), 4 - 2 * j) & 0x30303030;
        }
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
    int offset = offset_of(p->matrix->format) - (p->matrix->format == Q8_0 ? BIAS : 0);
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
    long rows = p->matrix->rows, columns = p->matrix->columns, groups = columns / GROUP;
    const uint8_t *weights = p->matrix->data + block * block_bytes(format, columns);
    const long size = 2 * LANES + codes_bytes(format);
    vpf sums[WIDE - 1][PARTS];
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) EVERY_PART sums[t][part] = (vpf){0};
    for (long g = 0; g < groups; g++) {
        const uint8_t *scales = scales_at(weights, g, format), *codes = codes_at(weights, g, format);
        if (p->ahead) ask_ahead(weights + g * size, size);
        const int8_t *x = p->codes + g * GROUP;
        vpi dots[WIDE - 1][PARTS];
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++) EVERY_PART dots[t][part] = (vpi){0} + p->offsets[t * groups + g];
#pragma GCC unroll 8
        for (int j = 0; j < 4; j++) {
            vpi w[PARTS], v[PARTS];
            get_codes(w, v, codes, j, format);
            add_dots(dots, w, x + 4 * j, columns, tile, format);
            add_dots(dots, v, x + 16 + 4 * j, columns, tile, format);
        }
        vpf scale[PARTS];
        EVERY_PART scale[part] = half_part((const uint16_t *)scales + part * PART);
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
    else if (p->matrix->format == Q5_0) grouped_of(p, first, last, Q5_0);
    else grouped_of(p, first, last, Q4_0);
}

/* Two blocks of 16 rows, unpacked once to bytes and floats, times all tokens, `tile` of them at a time. */
INLINE void unpack_block(const Matrix *m, long block, uint8_t *codes, float *scales, const int format) {
    long groups = m->columns / GROUP;
    const uint8_t *weights = m->data + block * block_bytes(format, m->columns);
    for (long g = 0; g < groups; g++, codes += 512, scales += LANES) {
        const uint8_t *packed = codes_at(weights, g, format);
        store16(scales, half16((const uint16_t *)scales_at(weights, g, format)));
#pragma GCC unroll 8
        for (int j = 0; j < 4; j++) {
            vpi near[PARTS], far[PARTS];
            get_codes(near, far, packed, j, format);
            EVERY_PART {
                memcpy(codes + 64 * j + part * PART_BYTES, &near[part], PART_BYTES);
                memcpy(codes + 256 + 64 * j + part * PART_BYTES, &far[part], PART_BYTES);
            }
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
            if (2 * pair + i < blocks) unpack_block(p->matrix, 2 * pair + i, to, scales + i * groups * LANES, format);
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
    else if (p->matrix->format == Q5_0) many_tokens_of(p, first, last, Q5_0);
    else many_tokens_of(p, first, last, Q4_0);
}
