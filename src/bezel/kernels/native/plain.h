/* What attention needs of an instruction set, one number at a time: for sets without better. */

static inline v16i codes16(const uint8_t *p) {
    v16i all;
    for (int i = 0; i < 16; i++) all[i] = (int8_t)p[i];
    return all;
}

static inline float half1(uint16_t half) { return half_to_float(half); }

static inline void store_half16(uint16_t *p, v16f v) {
    for (int i = 0; i < 16; i++) p[i] = float_to_half(v[i]);
}

/* How many queries share the registers of one tile of attention. */
enum { QUERIES = 1 };
