/* The product of a matrix in any format with rows of activations. */

/* Returns 0, or 1 where memory for the rounded activations is lacking. */
OP(linear) {
    int format = s[0].i;
    long rows = s[1].i, columns = s[2].i, tokens = s[5].i;
    if (!tokens) return 0; /* a chunk inside a prompt wants no logits */
    Matrix matrix = {format, rows, columns, s[3].p};
    Product product = {.matrix = &matrix, .x = s[4].p, .out = s[6].p, .tokens = tokens, .ahead = bezel_asks_ahead()};
    if (format == BF16) return paired_product(&product);
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
