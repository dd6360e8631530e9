/* Rows in GGUF's own layout, of any format, widened to float32. */

INLINE void widen_k(const uint8_t *raw, float *out, int format) {
    float d = half_at(raw + (format == Q6_K ? 208 : 0)), minimum = half_at(raw + 2);
    for (int i = 0; i < 256; i++) {
        if (format == Q6_K) {
            out[i] = (d * (float)(int8_t)raw[192 + i / 16]) * (float)(k_code(format, raw, i) - 32);
            continue;
        }
        uint8_t scale, least;
        k_scale(raw + 4, i / 32, &scale, &least);
        out[i] = (d * (float)scale) * (float)k_code(format, raw, i) - minimum * (float)least;
    }
}

INLINE void widen_group(const uint8_t *raw, float *out, int format) {
    float d = half_at(raw);
    v16i low = codes16(raw + 2), high = low >> 4;
    if (format == Q8_0) high = codes16(raw + 2 + LANES);
    else if (format == Q4_0) low = (low & 15) - 8, high = (high & 15) - 8;
    else {
        uint32_t fifth;
        memcpy(&fifth, raw + 2, 4);
        low = codes16(raw + 6), high = low >> 4 & 15, low &= 15;
        for (int i = 0; i < LANES; i++)
            low[i] += (fifth >> i & 1) * 16 - 16, high[i] += (fifth >> (i + LANES) & 1) * 16 - 16;
    }
    store16(out, __builtin_convertvector(low, v16f) * d), store16(out + LANES, __builtin_convertvector(high, v16f) * d);
}

OP(widen_rows) {
    int format = s[0].i;
    long columns = s[1].i, count = s[3].i;
    const uint8_t *raw = s[2].p;
    float scale = s[4].f, *out = s[5].p;
    for (long row = 0; row < count; row++, out += columns) {
        if (is_k(format))
            for (long i = 0; i < columns; i += 256, raw += row_bytes(format, 256)) widen_k(raw, out + i, format);
        else if (format == Q4_0 || format == Q8_0 || format == Q5_0)
            for (long i = 0; i < columns; i += GROUP, raw += row_bytes(format, GROUP))
                widen_group(raw, out + i, format);
        else
            for (long i = 0; i < columns; i++, raw += row_bytes(format, 1)) {
                uint32_t bits = 0;
                memcpy((uint8_t *)&bits + (format == BF16 ? 2 : 0), raw, row_bytes(format, 1));
                if (format == F16) out[i] = half_to_float((uint16_t)bits);
                else memcpy(out + i, &bits, 4);
            }
        for (long i = 0; i < columns; i++) out[i] *= scale;
    }
    return 0;
}
