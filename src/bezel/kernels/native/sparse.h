/* A feed-forward whose gate leaves few of its columns alive: only their rows of `up` and columns of `down` are read.

   `up` lies in GGUF's own rows. `down` lies in panels of 256 rows (the last one of fewer, in 32s): for each group of 32
   columns the panel's float16 scales, then column after column its codes; for Q4_0 16 bytes hold 32 rows, the first 16
   in the low halves, and for Q8_0 every code is a signed byte.

   What is dead adds exactly nothing to the dense products, whose sums of a group are whole numbers. So rows come out
   alike, bit for bit, whether dead columns were left out or not. */

enum { PANEL = 256, UNIT = 32, FEW = 24 /* rows of activations of which each reads what it needs itself */ };
/* What is alive lies far apart, so it is fetched that many rows, or columns, ahead of its use. */
enum { ROWS_AHEAD = 4, COLUMNS_AHEAD = 12 };

/* Bytes of a group of 32 columns of one row. */
INLINE long code_bytes(int format) { return format == Q8_0 ? 34 : 18; }

typedef struct {
    long start, rows, width; /* width: bytes of a column */
    const uint8_t *data;
} Panel;

INLINE Panel panel_of(const Matrix *m, long row) {
    long start = row / PANEL * PANEL, left = (m->rows + UNIT - 1) / UNIT * UNIT - start;
    Panel p = {start, left < PANEL ? left : PANEL, 0, m->data + start * (m->columns / GROUP) * code_bytes(m->format)};
    p.width = m->format == Q8_0 ? p.rows : p.rows / 2;
    return p;
}

typedef struct {
    Matrix matrix;
    long first, count;
    const uint8_t *raw;
} Spreading;

/* Parallel over units of 32 rows, counted from the first row's own: no two threads write into one byte. */
static void NAME(spread_units)(void *arguments, long from, long to) {
    const Spreading *a = arguments;
    long start = (a->first / UNIT + from) * UNIT, end = (a->first / UNIT + to) * UNIT;
    long groups = a->matrix.columns / GROUP;
    int format = a->matrix.format;
    if (start < a->first) start = a->first;
    if (end > a->first + a->count) end = a->first + a->count;
    for (long row = start; row < end; row++) {
        const uint8_t *raw = a->raw + (row - a->first) * groups * code_bytes(format);
        Panel panel = panel_of(&a->matrix, row);
        long at = row - panel.start, byte = at / UNIT * LANES + at % LANES, shift = at % UNIT < LANES ? 0 : 4;
        uint8_t *group = (uint8_t *)panel.data;
        for (long g = 0; g < groups; g++, raw += code_bytes(format), group += panel.rows * code_bytes(format)) {
            memcpy(group + 2 * at, raw, 2);
            uint8_t *codes = group + 2 * panel.rows;
            for (long k = 0; k < GROUP; k++)
                if (format == Q8_0) codes[k * panel.width + at] = raw[2 + k];
                else {
                    int code = raw[2 + k % LANES] >> (k / LANES * 4) & 15;
                    uint8_t *place = codes + k * panel.width + byte;
                    *place = (uint8_t)((*place & (0xf0 >> shift)) | code << shift);
                }
        }
    }
}

OP(store_columns) {
    Spreading a = {{s[0].i, s[1].i, s[2].i, s[3].p}, s[4].i, s[5].i, s[6].p};
    if (a.count)
        bezel_parallel(NAME(spread_units), &a, (a.first + a.count - 1) / UNIT - a.first / UNIT + 1);
    return 0;
}

typedef struct {
    const float *gate;
    float multiplier, *hidden, *cuts;
    long tokens, inner;
    int32_t *alive; /* of each row, rising */
    long *counts;
    Product up, down;
    int failed;
} SparseMLP;

/* Parallel over rows: where each one's gate is cut, and what stays. */
static void NAME(cut_rows)(void *arguments, long first, long last) {
    SparseMLP *a = arguments;
    long n = a->inner;
    for (long row = first; row < last; row++) {
        const float *gate = a->gate + row * n;
        int32_t *alive = a->alive + row * n;
        v16f sum = all16(0), squares = all16(0);
        long i = 0, count = 0;
        for (; i + LANES <= n; i += LANES) sum += load16(gate + i);
        float mean = sum16(sum);
        for (; i < n; i++) mean += gate[i];
        mean /= (float)n;
        for (i = 0; i + LANES <= n; i += LANES) {
            v16f off = load16(gate + i) - mean;
            squares += off * off;
        }
        float spread = sum16(squares);
        for (; i < n; i++) spread += (gate[i] - mean) * (gate[i] - mean);
        float cut = mean + sqrtf(spread / (float)n) * a->multiplier;
        for (i = 0; i < n; i++) alive[count] = (int32_t)i, count += gate[i] > cut;
        a->counts[row] = count, a->cuts[row] = cut;
    }
}

INLINE void fetch_lines(const uint8_t *from, long bytes) {
    for (long i = 0; i < bytes; i += 64) __builtin_prefetch(from + i);
}

/* 16 rows of activations and one row each, through the product of 16 interleaved rows. */
INLINE void sixteen_alive(const SparseMLP *a, long row, long from, uint8_t *memory, const int format) {
    const Matrix *up = a->up.matrix;
    long columns = up->columns, groups = columns / GROUP, count = a->counts[row] - from;
    const int32_t *alive = a->alive + row * a->inner + from;
    Packing packing = {.format = format, .columns = columns, .count = LANES, .data = memory};
    v16f found, gates = all16(0);
    if (count > LANES) count = LANES;
    for (long lane = 0; lane < count; lane++) {
        if (from + lane + ROWS_AHEAD < a->counts[row])
            fetch_lines(up->data + alive[lane + ROWS_AHEAD] * row_bytes(format, columns), row_bytes(format, columns));
        pack_row(&packing, lane, up->data + alive[lane] * row_bytes(format, columns));
        gates[lane] = a->gate[row * a->inner + alive[lane]] - a->cuts[row];
    }
    Matrix sixteen = {format, LANES, columns, memory};
    Product product = {&sixteen, 0, (float *)&found, 1, a->up.codes + row * columns, a->up.scales + row * groups,
                       a->up.offsets + row * groups, 0, 0};
    sixteen_rows(&product, 0, 1, format);
    found *= gelu16(gates);
    for (long lane = 0; lane < count; lane++) a->hidden[row * a->inner + alive[lane]] = found[lane];
}

/* Parallel over sixteens of what is alive, row after row. */
static void NAME(up_alive)(void *arguments, long first, long last) {
    SparseMLP *a = arguments;
    int format = a->up.matrix->format;
    uint8_t *memory = calloc(1, block_bytes(format, a->up.matrix->columns));
    if (!memory) {
        a->failed = 1;
        return;
    }
    for (long row = 0, passed = 0; row < a->tokens; row++) {
        long blocks = (a->counts[row] + LANES - 1) / LANES;
        for (long block = first > passed ? first - passed : 0; block < blocks && passed + block < last; block++)
            if (format == Q8_0) sixteen_alive(a, row, block * LANES, memory, Q8_0);
            else sixteen_alive(a, row, block * LANES, memory, Q4_0);
        passed += blocks;
    }
    free(memory);
}

/* 32 rows of the result gain one group of columns, of which `count` are alive: exact sums, then their scales. */
INLINE void unit_of_group(v16f *sums, const uint8_t *scales, const uint8_t *codes, long width, const int32_t *alive,
                          long count, const int8_t *x, float of_x, const int format) {
    v16f low = all16(0), high = all16(0);
    for (long i = 0; i < count; i++) {
        const uint8_t *column = codes + alive[i] % GROUP * width;
        float times = x[alive[i]];
        v16i first = codes16(column), second = first;
        if (format == Q8_0) second = codes16(column + LANES);
        else first = (first & 15) - 8, second = (second >> 4 & 15) - 8;
        low = fma16(__builtin_convertvector(first, v16f), all16(times), low);
        high = fma16(__builtin_convertvector(second, v16f), all16(times), high);
    }
    sums[0] += low * (half16((const uint16_t *)scales) * of_x);
    sums[1] += high * (half16((const uint16_t *)scales + LANES) * of_x);
}

INLINE void panel_alive(const SparseMLP *a, long number, const int format) {
    const Matrix *down = a->down.matrix;
    Panel panel = panel_of(down, number * PANEL);
    long groups = down->columns / GROUP, size = panel.rows * code_bytes(format);
    for (long row = 0; row < a->tokens; row++) {
        const int32_t *alive = a->alive + row * a->inner;
        v16f sums[PANEL / LANES];
        for (long i = 0; i < panel.rows / LANES; i++) sums[i] = all16(0);
        for (long i = 0, next; i < a->counts[row]; i = next) {
            long g = alive[i] / GROUP;
            for (next = i + 1; next < a->counts[row] && alive[next] / GROUP == g;) next++;
            const uint8_t *group = panel.data + g * size;
            for (long j = i + COLUMNS_AHEAD; j < next + COLUMNS_AHEAD && j < a->counts[row]; j++) {
                const uint8_t *later = panel.data + alive[j] / GROUP * size;
                fetch_lines(later + 2 * panel.rows + alive[j] % GROUP * panel.width, panel.width);
                if (alive[j] / GROUP != alive[j - 1] / GROUP) fetch_lines(later, 2 * panel.rows);
            }
            for (long unit = 0; unit < panel.rows / UNIT; unit++)
                unit_of_group(sums + 2 * unit, group + 64 * unit,
                              group + 2 * panel.rows + unit * (format == Q8_0 ? UNIT : LANES), panel.width, alive + i,
                              next - i, a->down.codes + row * a->inner, a->down.scales[row * groups + g], format);
        }
        long left = down->rows - panel.start;
        memcpy(a->down.out + row * down->rows + panel.start, sums, 4 * (left < panel.rows ? left : panel.rows));
    }
}

/* Parallel over panels of `down`. */
static void NAME(down_alive)(void *arguments, long first, long last) {
    const SparseMLP *a = arguments;
    for (long panel = first; panel < last; panel++)
        if (a->down.matrix->format == Q8_0) panel_alive(a, panel, Q8_0);
        else panel_alive(a, panel, Q4_0);
}

/* ---- many rows of activations: everything is read, two blocks of 16 rows at a time ---- */

/* A block of 16 rows that lie as in GGUF; `memory` holds it interleaved meanwhile. */
INLINE void unpack_rows(const Matrix *m, long block, uint8_t *memory, uint8_t *codes, float *scales) {
    const uint8_t *raw = m->data + block * LANES * row_bytes(m->format, m->columns);
    Packing packing = {.format = m->format, .columns = m->columns, .count = LANES, .data = memory};
    Matrix interleaved = {m->format, LANES, m->columns, memory};
    long left = m->rows - block * LANES, stride = row_bytes(m->format, m->columns);
    if (left >= LANES) pack_block(&packing, 0, raw);
    else
        for (long lane = 0; lane < left; lane++) pack_row(&packing, lane, raw + lane * stride);
    if (m->format == Q8_0) unpack_block(&interleaved, 0, codes, scales, Q8_0);
    else unpack_block(&interleaved, 0, codes, scales, Q4_0);
}

/* Both blocks of a unit of 32 rows that lie in columns. */
INLINE void unpack_unit(const Matrix *m, long unit, uint8_t *codes, float *scales) {
    Panel panel = panel_of(m, unit * UNIT);
    long groups = m->columns / GROUP, size = panel.rows * code_bytes(m->format), at = unit * UNIT - panel.start;
    const uint8_t *group = panel.data, *column;
    for (long g = 0; g < groups; g++, group += size) {
        store16(scales + g * LANES, half16((const uint16_t *)group + at));
        store16(scales + (groups + g) * LANES, half16((const uint16_t *)group + at + LANES));
        column = group + 2 * panel.rows + (m->format == Q8_0 ? at : at / 2);
        for (long four = 0; four < GROUP / 4; four++) {
            v16u first = {0}, second = {0};
            for (int k = 0; k < 4; k++, column += panel.width) {
                v16u low = (v16u)codes16(column), high = low >> 4;
                if (m->format == Q8_0) low ^= 128, high = (v16u)codes16(column + LANES) ^ 128;
                else low &= 15, high &= 15;
                first |= (low & 255) << 8 * k, second |= (high & 255) << 8 * k;
            }
            memcpy(codes + g * 512 + 64 * four, &first, 64);
            memcpy(codes + (groups + g) * 512 + 64 * four, &second, 64);
        }
    }
}

INLINE void dense_pairs(Product *p, long first, long last, const int by_columns, const int format) {
    long groups = p->matrix->columns / GROUP, blocks = (p->matrix->rows + LANES - 1) / LANES;
    long size = 2 * groups * (512 + 64);
    long sixteen = block_bytes(format, p->matrix->columns);
    uint8_t *codes = aligned_alloc(64, size + sixteen);
    if (!codes) {
        p->failed = 1;
        return;
    }
    float *scales = (float *)(codes + 2 * groups * 512);
    memset(codes + size, 0, sixteen);
    for (long pair = first; pair < last; pair++) {
        if (by_columns) unpack_unit(p->matrix, pair, codes, scales);
        else
            for (long i = 0; i < 2; i++) {
                uint8_t *to = codes + i * groups * 512;
                if (2 * pair + i < blocks)
                    unpack_rows(p->matrix, 2 * pair + i, codes + size, to, scales + i * groups * LANES);
                else memset(to, 0, groups * 512), memset(scales + i * groups * LANES, 0, 4 * groups * LANES);
            }
        long token = 0;
        for (; token + TOKENS <= p->tokens; token += TOKENS)
            two_blocks(p, codes, scales, 2 * pair, token, TOKENS, format);
        for (; token < p->tokens; token++) two_blocks(p, codes, scales, 2 * pair, token, 1, format);
    }
    free(codes);
}

static void NAME(up_pairs)(void *arguments, long first, long last) {
    SparseMLP *a = arguments;
    if (a->up.matrix->format == Q8_0) dense_pairs(&a->up, first, last, 0, Q8_0);
    else dense_pairs(&a->up, first, last, 0, Q4_0);
}

static void NAME(down_pairs)(void *arguments, long first, long last) {
    SparseMLP *a = arguments;
    if (a->down.matrix->format == Q8_0) dense_pairs(&a->down, first, last, 1, Q8_0);
    else dense_pairs(&a->down, first, last, 1, Q4_0);
}

/* Parallel over rows: hidden = gelu(what the gate has over its cut) * hidden. */
static void NAME(gate_rows)(void *arguments, long first, long last) {
    const SparseMLP *a = arguments;
    for (long row = first; row < last; row++)
        for (long i = 0; i < a->inner; i += LANES) {
            float *hidden = a->hidden + row * a->inner + i;
            long left = a->inner - i;
            v16f over = max_of(load_some(a->gate + row * a->inner + i, left) - a->cuts[row], all16(0));
            store_some(hidden, load_some(hidden, left) * gelu16(over), left);
        }
}

/* out = gelu(what the gate has over its cut) * up, for matrices that cannot be read in parts. */
OP(cut_geglu) {
    long tokens = s[2].i, inner = s[3].i;
    SparseMLP a = {.gate = s[0].p, .multiplier = s[4].f, .tokens = tokens, .inner = inner, .hidden = s[5].p};
    uint8_t *memory = malloc(tokens * (4 * inner + 16) + 64);
    if (!memory) return 1;
    a.counts = (long *)memory, a.cuts = (float *)(memory + 8 * tokens), a.alive = (int32_t *)(memory + 12 * tokens);
    memcpy(a.hidden, s[1].p, 4 * tokens * inner);
    NAME(over_tokens)(NAME(cut_rows), &a, tokens);
    NAME(over_tokens)(NAME(gate_rows), &a, tokens);
    free(memory);
    return 0;
}

/* Room for the rounded rows of a product, out of `memory`, whose end is returned. */
static uint8_t *NAME(round_into)(Product *p, uint8_t *memory) {
    long groups = p->tokens * (p->matrix->columns / GROUP);
    p->scales = (float *)memory, p->offsets = (int32_t *)(memory + 4 * groups);
    p->halves = (int32_t *)(memory + 8 * groups), p->codes = (int8_t *)(memory + 16 * groups);
    return memory + groups * (16 + GROUP);
}

OP(sparse_mlp) {
    if (!s[2].i) return 0;
    long tokens = s[2].i, columns = s[3].i, inner = s[4].i, alive = 0, blocks = 0;
    Matrix up = {s[5].i, inner, columns, s[6].p}, down = {s[7].i, columns, inner, s[8].p};
    SparseMLP a = {.gate = s[0].p, .multiplier = s[9].f, .tokens = tokens, .inner = inner};
    uint8_t *memory = malloc(tokens * (inner * (8 + 2) + columns * 2 + 16) + 64), *at = memory;
    if (!memory) return 1;
    a.counts = (long *)at, at += 8 * tokens;
    a.hidden = (float *)at, at += 4 * tokens * inner;
    a.alive = (int32_t *)at, at += 4 * tokens * inner;
    a.cuts = (float *)at, at += 4 * tokens;
    a.up = (Product){.matrix = &up, .x = s[1].p, .out = a.hidden, .tokens = tokens};
    a.down = (Product){.matrix = &down, .x = a.hidden, .out = s[10].p, .tokens = tokens};
    NAME(round_into)(&a.down, NAME(round_into)(&a.up, at));
    NAME(over_tokens)(NAME(cut_rows), &a, tokens);
    NAME(over_tokens)(NAME(round_rows), &a.up, tokens);
    for (long row = 0; row < tokens; row++) alive += a.counts[row], blocks += (a.counts[row] + LANES - 1) / LANES;
    int sparse = tokens <= FEW && 2 * alive <= tokens * inner;
    if (sparse) {
        memset(a.hidden, 0, 4 * tokens * inner);
        bezel_parallel(NAME(up_alive), &a, blocks);
    } else {
        bezel_parallel(NAME(up_pairs), &a, (inner + UNIT - 1) / UNIT);
        NAME(over_tokens)(NAME(gate_rows), &a, tokens);
    }
    NAME(over_tokens)(NAME(round_rows), &a.down, tokens);
    if (sparse) bezel_parallel(NAME(down_alive), &a, (columns + PANEL - 1) / PANEL);
    else bezel_parallel(NAME(down_pairs), &a, (columns + UNIT - 1) / UNIT);
    free(memory);
    return a.failed || a.up.failed || a.down.failed;
}
