/* Matrices in K formats, in blocks of 16 interleaved rows, times rows of activations. */

/* Small scales, a byte a row. */
INLINE vpf small_part(const uint8_t *p, int is_signed) {
    vpi wide;
    for (int i = 0; i < PART; i++) wide[i] = is_signed ? (int8_t)p[i] : p[i];
    return __builtin_convertvector(wide, vpf);
}

enum { K_TILE = TOKENS, K_FEW = TOKENS > 4 ? 4 : 1 };

/* A block of 16 rows of a K matrix times `tile` tokens. Only Q6_K has scales of its own for either half of a group. */
INLINE void k_rows(const Product *p, long block, long token, const int tile, const int format) {
    long rows = p->matrix->rows, columns = p->matrix->columns, groups = columns / GROUP;
    const uint8_t *weights = p->matrix->data + block * (columns / 256) * k_bytes(format);
    vpf sums[K_TILE][PARTS];
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) EVERY_PART sums[t][part] = (vpf){0};
    for (long g = 0; g < groups; g++) {
        const uint8_t *head = weights + g / 8 * k_bytes(format), *small = head + K_SMALL + g % 8 * 2 * LANES;
        const uint8_t *codes = head + K_CODES + g % 8 * codes_bytes(format);
        if (p->ahead) ask_ahead(head + g % 8 * k_bytes(format) / 8, k_bytes(format) / 8);
        const int8_t *x = p->codes + token * columns + g * GROUP;
        const int32_t *halves = p->halves + 2 * (token * groups + g);
        vpi low[K_TILE][PARTS], high[K_TILE][PARTS];
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++) EVERY_PART {
            low[t][part] = high[t][part] = (vpi){0};
            if (format == Q6_K)
                low[t][part] -= 32 * halves[2 * t * groups], high[t][part] -= 32 * halves[2 * t * groups + 1];
        }
#pragma GCC unroll 8
        for (int j = 0; j < 4; j++) {
            vpi w[PARTS], v[PARTS];
            get_codes(w, v, codes, j, format);
            add_dots(low, w, x + 4 * j, columns, tile, format);
            add_dots(format == Q6_K ? high : low, v, x + 16 + 4 * j, columns, tile, format);
        }
        EVERY_PART {
            vpf d = half_part((const uint16_t *)head + part * PART), scale = d, other = d;
            scale *= small_part(small + part * PART, format == Q6_K);
            if (format == Q6_K) other *= small_part(small + LANES + part * PART, 1);
            else other = half_part((const uint16_t *)head + LANES + part * PART) * small_part(small + LANES + part * PART, 0);
#pragma GCC unroll 8
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
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++)
        put_rows(p->out + (token + t) * rows + block * LANES, sums[t], rows - block * LANES);
}

INLINE void k_blocks_of(const Product *p, long first, long last, const int format) {
    for (long block = first; block < last; block++) {
        long token = 0;
        for (; token + K_TILE <= p->tokens; token += K_TILE) k_rows(p, block, token, K_TILE, format);
        for (; token + K_FEW <= p->tokens; token += K_FEW) k_rows(p, block, token, K_FEW, format);
        for (; token < p->tokens; token++) k_rows(p, block, token, 1, format);
    }
}

static void NAME(k_blocks)(void *arguments, long first, long last) {
    const Product *p = arguments;
    if (p->matrix->format == Q4_K) k_blocks_of(p, first, last, Q4_K);
    else if (p->matrix->format == Q5_K) k_blocks_of(p, first, last, Q5_K);
    else k_blocks_of(p, first, last, Q6_K);
}
