/* How weights lie in memory, and putting them there.

   Rows of Q4_0, Q5_0 and Q8_0 are interleaved by 16: two groups of 32 columns of 16 rows are 16 float16 scales of
   either, then the codes of either, so that no vector of codes lies on two lines of a cache. Codes of Q8_0 are 8 chunks
   of 64 bytes, each holding 4 consecutive columns of the 16 rows. Other codes are 4 chunks, whose low halves hold 4
   columns and whose high halves the 4 that lie 16 further. What codes have beyond four bits follows: one bit as 64
   bytes, in which bit j is chunk j's, two bits as 64 bytes for the near columns and 64 for the far, in which bits 2 j
   and 2 j + 1 are. Codes are unsigned; the offset is taken off again with the sum of x, whose negative multiple the
   products start from.

   BF16 rows are interleaved by 16 too: the largest magnitudes of 16 rows as float32, then two consecutive columns of
   the 16 rows in every 64 bytes, and zeros up to a multiple of 4 columns.

   Q4_K, Q5_K and Q6_K: 256 columns of 16 rows are 16 float16 scales and 16 of the minima (Q6_K: nothing), then of each
   group of 32 columns 16 small scales and 16 small minima (Q6_K: 16 scales of either half), then of each its codes. */

#include "files.h"

/* Bits of a code beyond four; Q8_0 has no halves. */
INLINE int further_bits(int format) {
    return format == Q5_0 || format == Q5_K ? 1 : format == Q6_K ? 2 : format == Q8_0 ? 4 : 0;
}

/* What codes have too much. */
INLINE int offset_of(int format) { return format == Q8_0 ? 128 : format == Q5_0 ? 16 : 8; }

INLINE long codes_bytes(int format) { return 256 + 64 * further_bits(format); }

/* Of a block of 16 rows. */
INLINE long block_bytes(int format, long columns) {
    long groups = columns / GROUP;
    return (groups + 1) / 2 * 4 * LANES + groups * codes_bytes(format);
}

/* Where the scales of group `g` of a block lie, and its codes. */
INLINE uint8_t *scales_at(const uint8_t *block, long g, int format) {
    return (uint8_t *)block + g / 2 * (4 * LANES + 2 * codes_bytes(format)) + g % 2 * 2 * LANES;
}

INLINE uint8_t *codes_at(const uint8_t *block, long g, int format) {
    return (uint8_t *)block + (g / 2 + 1) * 4 * LANES + g * codes_bytes(format);
}

/* The code of column `i` of a group, of the row in `lane`. */
INLINE int code_at(const uint8_t *codes, long lane, long i, int format) {
    if (format == Q8_0) return codes[i / 4 * 64 + lane * 4 + i % 4];
    long chunk = i % 16 / 4, far = i / 16, at = lane * 4 + i % 4;
    int code = codes[64 * chunk + at] >> (4 * far) & 15;
    if (further_bits(format) == 1) code |= (codes[256 + at] >> (4 * far + chunk) & 1) << 4;
    if (further_bits(format) == 2) code |= (codes[256 + 64 * far + at] >> (2 * chunk) & 3) << 4;
    return code;
}

/* The codes of a row's group, which are in columns' order, to their places. */
INLINE void put_codes(uint8_t *codes, long lane, const uint8_t *row, int format) {
    for (long k = 0; k < codes_bytes(format); k += 64) memset(codes + k + lane * 4, 0, 4);
    for (long i = 0; i < GROUP; i++) {
        long chunk = i % 16 / 4, far = i / 16, at = lane * 4 + i % 4;
        if (format == Q8_0) {
            codes[i / 4 * 64 + at] = row[i];
            continue;
        }
        codes[64 * chunk + at] |= (row[i] & 15) << (4 * far);
        if (further_bits(format) == 1) codes[256 + at] |= row[i] >> 4 << (4 * far + chunk);
        if (further_bits(format) == 2) codes[256 + 64 * far + at] |= row[i] >> 4 << (2 * chunk);
    }
}

/* Of a block of 16 BF16 rows. */
INLINE long pair_bytes(long columns) { return 64 * (1 + (columns + 3) / 4 * 2); }

/* Where a weight of an interleaved BF16 matrix lies. */
INLINE long pair_place(long row, long column, long columns) {
    return row / LANES * pair_bytes(columns) + 64 * (1 + column / 2) + row % LANES * 4 + column % 2 * 2;
}

/* Bytes of a row in GGUF's layout. */
INLINE long row_bytes(int format, long columns) {
    switch (format) {
    case F32: return 4 * columns;
    case Q4_0: return columns / 32 * 18;
    case Q5_0: return columns / 32 * 22;
    case Q8_0: return columns / 32 * 34;
    case Q4_K: return columns / 256 * 144;
    case Q5_K: return columns / 256 * 176;
    case Q6_K: return columns / 256 * 210;
    default: return 2 * columns;
    }
}


typedef struct {
    int format;
    long columns, first, count;
    uint8_t *data;
    const uint8_t *raw;
    /* where the rows lie in a file instead */
    int file;
    long offset;
    int failed; /* an errno, or FILE_ENDS */
} Packing;

/* The 32 fifth bits of a Q5_0 group, lowest first, as they are interleaved: bit j of byte k is column 4 j + k's. */
INLINE uint32_t fifth_bits(const uint8_t *raw) {
    uint32_t bits, found = 0;
    memcpy(&bits, raw, 4);
    for (int i = 0; i < GROUP; i++) found |= (bits >> i & 1) << (i % 4 * 8 + i / 4);
    return found;
}

INLINE void pack_row(const Packing *p, long row, const uint8_t *raw) {
    long groups = p->columns / GROUP, lane = row % LANES;
    uint8_t *block = p->data + row / LANES * block_bytes(p->format, p->columns);
    uint32_t flip = p->format == Q8_0 ? 0x80808080u : 0, code;
    for (long g = 0; g < groups; g++) {
        uint8_t *codes = codes_at(block, g, p->format);
        memcpy(scales_at(block, g, p->format) + 2 * lane, raw, 2), raw += 2;
        if (p->format == Q5_0) {
            code = fifth_bits(raw), raw += 4;
            memcpy(codes + 256 + 4 * lane, &code, 4);
        }
        for (long j = 0; j < (p->format == Q8_0 ? 8 : 4); j++, raw += 4) {
            memcpy(&code, raw, 4);
            code ^= flip;
            memcpy(codes + 64 * j + 4 * lane, &code, 4);
        }
    }
}

INLINE int is_k(int format) { return format == Q4_K || format == Q5_K || format == Q6_K; }

enum { K_SMALL = 4 * LANES, K_CODES = K_SMALL + 8 * 2 * LANES /* where of 256 columns these begin */ };

INLINE long k_bytes(int format) { return K_CODES + 8 * codes_bytes(format); }

/* The code of column `at` of a K block, with nothing taken off. */
INLINE int k_code(int format, const uint8_t *b, int at) {
    int group = at / 32, i = at % 32;
    if (format == Q6_K) {
        int part = at / 128, quarter = group % 4;
        int low = b[part * 64 + quarter % 2 * 32 + i] >> (quarter / 2 * 4) & 15;
        return low | (b[128 + part * 32 + i] >> (2 * quarter) & 3) << 4;
    }
    int low = b[(format == Q4_K ? 16 : 48) + group / 2 * 32 + i] >> (group % 2 * 4) & 15;
    return format == Q4_K ? low : low | (b[16 + i] >> group & 1) << 4;
}

INLINE void k_scale(const uint8_t *packed, int i, uint8_t *scale, uint8_t *minimum) {
    if (i < 4) *scale = packed[i] & 63, *minimum = packed[i + 4] & 63;
    else
        *scale = (packed[i + 4] & 15) | packed[i - 4] >> 6 << 4, *minimum = packed[i + 4] >> 4 | packed[i] >> 6 << 4;
}

INLINE void pack_k(const Packing *p, long row, const uint8_t *raw, const int format) {
    long blocks = p->columns / 256, lane = row % LANES;
    uint8_t *at = p->data + row / LANES * blocks * k_bytes(format);
    for (long block = 0; block < blocks; block++) {
        if (format == Q6_K) memcpy(at + 2 * lane, raw + 208, 2);
        else memcpy(at + 2 * lane, raw, 2), memcpy(at + 32 + 2 * lane, raw + 2, 2);
        for (int g = 0; g < 8; g++) {
            uint8_t *small = at + K_SMALL + 2 * LANES * g + lane, codes[GROUP];
            if (format == Q6_K) small[0] = raw[192 + 2 * g], small[LANES] = raw[193 + 2 * g];
            else k_scale(raw + 4, g, small, small + LANES);
            for (int i = 0; i < GROUP; i++) codes[i] = (uint8_t)k_code(format, raw, g * GROUP + i);
            put_codes(at + K_CODES + g * codes_bytes(format), lane, codes, format);
        }
        at += k_bytes(format);
        raw += format == Q4_K ? 144 : format == Q5_K ? 176 : 210;
    }
}

INLINE void put_largest(const Packing *p, long row, const uint8_t *raw) {
    uint16_t largest = 0;
    for (long i = 0; i < p->columns; i++) {
        uint16_t bits;
        memcpy(&bits, raw + 2 * i, 2);
        bits &= 0x7fff;
        if (bits > largest) largest = bits;
    }
    uint32_t as_float = (uint32_t)largest << 16;
    memcpy(p->data + row / LANES * pair_bytes(p->columns) + row % LANES * 4, &as_float, 4);
}

INLINE void pack_pairs(const Packing *p, long row, const uint8_t *raw) {
    uint8_t *at = p->data + pair_place(row, 0, p->columns);
    put_largest(p, row, raw);
    for (long i = 0; i < p->columns / 2; i++) memcpy(at + 64 * i, raw + 4 * i, 4);
    if (p->columns % 2) memcpy(at + 64 * (p->columns / 2), raw + 2 * (p->columns - 1), 2);
}

/* The same four bytes of 16 rows, side by side. */
INLINE void pack_words(uint8_t *to, const uint8_t *raw, long stride, uint32_t flip) {
    uint32_t words[LANES];
    for (int lane = 0; lane < LANES; lane++) memcpy(words + lane, raw + lane * stride, 4);
    for (int lane = 0; lane < LANES; lane++) words[lane] ^= flip;
    memcpy(to, words, 64);
}

/* A whole block of 16 rows line by line, where rows one by one would come back to every line 16 times. */
INLINE void pack_block(const Packing *p, long row, const uint8_t *raw) {
    long stride = row_bytes(p->format, p->columns);
    if (p->format == BF16) {
        uint8_t *at = p->data + pair_place(row, 0, p->columns);
        for (int lane = 0; lane < LANES; lane++) put_largest(p, row + lane, raw + lane * stride);
        for (long i = 0; i < p->columns / 2; i++) pack_words(at + 64 * i, raw + 4 * i, stride, 0);
        return;
    }
    long groups = p->columns / GROUP, chunks = p->format == Q8_0 ? 8 : 4;
    uint8_t *block = p->data + row / LANES * block_bytes(p->format, p->columns);
    uint32_t flip = p->format == Q8_0 ? 0x80808080u : 0;
    for (long g = 0; g < groups; g++, raw += 2 + 4 * chunks) {
        uint8_t *scales = scales_at(block, g, p->format), *codes = codes_at(block, g, p->format);
        for (int lane = 0; lane < LANES; lane++) memcpy(scales + 2 * lane, raw + lane * stride, 2);
        if (p->format == Q5_0) {
            uint32_t fifth[LANES];
            for (int lane = 0; lane < LANES; lane++) fifth[lane] = fifth_bits(raw + 2 + lane * stride);
            memcpy(codes + 256, fifth, 64);
            raw += 4;
        }
        for (long j = 0; j < chunks; j++) pack_words(codes + 64 * j, raw + 2 + 4 * j, stride, flip);
    }
}

/* Packs rows start ... end - 1, which lie at `raw`. */
INLINE void pack_rows(const Packing *p, long start, long end, const uint8_t *raw) {
    long bytes = row_bytes(p->format, p->columns);
    int by_blocks = p->format == Q4_0 || p->format == Q5_0 || p->format == Q8_0;
    if (p->format == BF16) by_blocks = p->columns % 2 == 0;
    for (long row = start; row < end; row++, raw += bytes) {
        if (by_blocks && row % LANES == 0 && row + LANES <= end) {
            pack_block(p, row, raw);
            row += LANES - 1, raw += (LANES - 1) * bytes;
            continue;
        }
        switch (p->format) {
        case F32:
        case F16: memcpy(p->data + row * bytes, raw, bytes); break;
        case BF16: pack_pairs(p, row, raw); break;
        case Q4_K: pack_k(p, row, raw, Q4_K); break;
        case Q5_K: pack_k(p, row, raw, Q5_K); break;
        case Q6_K: pack_k(p, row, raw, Q6_K); break;
        default: pack_row(p, row, raw);
        }
    }
}

/* Rows of the blocks first ... last - 1, counted from the first row's own block. */
INLINE void rows_of_blocks(const Packing *p, long first, long last, long *start, long *end) {
    *start = (p->first / LANES + first) * LANES, *end = (p->first / LANES + last) * LANES;
    if (*start < p->first) *start = p->first;
    if (*end > p->first + p->count) *end = p->first + p->count;
}

static void NAME(pack)(void *arguments, long first, long last) {
    const Packing *p = arguments;
    long start, end;
    rows_of_blocks(p, first, last, &start, &end);
    pack_rows(p, start, end, p->raw + (start - p->first) * row_bytes(p->format, p->columns));
}

/* Reads a block of 16 rows, which fits into a core's cache, and packs it. */
static void NAME(load_blocks)(void *arguments, long first, long last) {
    Packing *p = arguments;
    long bytes = row_bytes(p->format, p->columns), start, end;
    uint8_t *raw = malloc(LANES * bytes);
    if (!raw) p->failed = ENOMEM;
    for (; first < last && !p->failed; first++) {
        rows_of_blocks(p, first, first + 1, &start, &end);
        int failed = read_whole(p->file, raw, (end - start) * bytes, p->offset + (start - p->first) * bytes);
        if (failed) p->failed = failed;
        else pack_rows(p, start, end, raw);
    }
    free(raw);
}

INLINE long block_count(const Packing *p) {
    return p->count ? (p->first + p->count - 1) / LANES - p->first / LANES + 1 : 0;
}

OP(store) {
    Packing p = {.format = s[0].i, .columns = s[1].i, .data = s[2].p, .first = s[3].i, .count = s[4].i, .raw = s[5].p};
    bezel_parallel(NAME(pack), &p, block_count(&p));
    return 0;
}

/* Rows straight from a file; *s[7].p is 0, an errno or FILE_ENDS. */
OP(load) {
    Packing p = {.format = s[0].i, .columns = s[1].i, .data = s[2].p, .first = s[3].i, .count = s[4].i,
                 .file = s[5].i, .offset = s[6].i};
    bezel_parallel(NAME(load_blocks), &p, block_count(&p));
    *(int32_t *)s[7].p = p.failed;
    return 0;
}

/* ---- one weight at a time ---- */

INLINE float half_at(const uint8_t *p) {
    uint16_t bits;
    memcpy(&bits, p, 2);
    return half_to_float(bits);
}

/* One weight of a K matrix. */
INLINE float k_weight(int format, const uint8_t *data, long row, long column, long columns) {
    long lane = row % LANES, i = column % 32;
    const uint8_t *at = data + (row / LANES * (columns / 256) + column / 256) * k_bytes(format);
    float d = half_at(at + 2 * lane), minimum = half_at(at + 32 + 2 * lane);
    long g = column % 256 / GROUP;
    const uint8_t *small = at + K_SMALL + 2 * LANES * g + lane;
    int code = code_at(at + K_CODES + g * codes_bytes(format), lane, i, format);
    if (format == Q6_K) return (d * (float)(int8_t)small[i / 16 * LANES]) * (float)(code - 32);
    return (d * (float)small[0]) * (float)code - minimum * (float)small[LANES];
}

OP(embed) {
    int format = s[0].i;
    long columns = s[1].i, count = s[4].i;
    const uint8_t *data = s[2].p;
    const int32_t *ids = s[3].p;
    float scale = s[5].f, *out = s[6].p;
    for (long i = 0; i < count; i++, out += columns) {
        long row = ids[i], lane = row % LANES;
        if (format == BF16) {
            for (long c = 0; c < columns; c++) {
                uint16_t half;
                memcpy(&half, data + pair_place(row, c, columns), 2);
                uint32_t bits = (uint32_t)half << 16;
                memcpy(out + c, &bits, 4);
            }
        } else if (is_k(format)) {
            for (long c = 0; c < columns; c++) out[c] = k_weight(format, data, row, c, columns);
        } else if (format == F32) {
            memcpy(out, data + 4 * row * columns, 4 * columns);
        } else if (format == F16) {
            for (long c = 0; c < columns; c++) out[c] = half_at(data + 2 * (row * columns + c));
        } else {
            const uint8_t *block = data + row / LANES * block_bytes(format, columns);
            for (long c = 0; c < columns; c++) {
                long g = c / GROUP;
                int code = code_at(codes_at(block, g, format), lane, c % GROUP, format) - offset_of(format);
                out[c] = (float)code * half_at(scales_at(block, g, format) + 2 * lane);
            }
        }
        for (long c = 0; c < columns; c++) out[c] *= scale;
    }
    return 0;
}
