/* What choosing a token needs of a row of logits, without sorting it. */

enum { STRETCH = 4096 /* logits that are summed together */ };

typedef struct {
    const float *x;
    long count;
    float largest;
    float *most;
    double *sums;
} Choice;

/* Parallel over stretches: the largest of each. */
static void NAME(most_of)(void *arguments, long first, long last) {
    const Choice *c = arguments;
    for (long stretch = first; stretch < last; stretch++) {
        long i = stretch * STRETCH, end = i + STRETCH < c->count ? i + STRETCH : c->count;
        v16f most = all16(-INFINITY);
        for (; i + LANES <= end; i += LANES) most = max_of(load16(c->x + i), most);
        float found = max16(most);
        for (; i < end; i++) found = c->x[i] > found ? c->x[i] : found;
        c->most[stretch] = found;
    }
}

/* Parallel over stretches: the sum of e^(x - largest) of each, lane by lane. */
static void NAME(powers_of)(void *arguments, long first, long last) {
    const Choice *c = arguments;
    for (long stretch = first; stretch < last; stretch++) {
        long i = stretch * STRETCH, end = i + STRETCH < c->count ? i + STRETCH : c->count;
        v16f sum = all16(0);
        for (; i < end; i += LANES) {
            v16f x = all16(-INFINITY);
            if (i + LANES <= end) x = load16(c->x + i);
            else memcpy(&x, c->x + i, 4 * (end - i));
            v16f power = exp16(x - c->largest);
            sum += select16(x - c->largest > -87.0f, power, all16(0));
        }
        c->sums[stretch] = sum16(sum);
    }
}

/* out[0] = log(sum of e^x). Stretches are added in their order, on however many threads they were summed. */
OP(log_sum_exp) {
    Choice c = {.x = s[0].p, .count = s[1].i};
    long stretches = (c.count + STRETCH - 1) / STRETCH;
    double *memory = malloc(12 * stretches), sum = 0;
    if (!memory) return 1;
    c.sums = memory, c.most = (float *)(memory + stretches);
    bezel_parallel(NAME(most_of), &c, stretches);
    c.largest = -INFINITY;
    for (long i = 0; i < stretches; i++) c.largest = c.most[i] > c.largest ? c.most[i] : c.largest;
    bezel_parallel(NAME(powers_of), &c, stretches);
    for (long i = 0; i < stretches; i++) sum += c.sums[i];
    *(double *)s[2].p = (double)c.largest + log(sum);
    free(memory);
    return 0;
}

/* Whether the logit at `a` comes behind that at `b`: it is smaller, or as large and further back. */
INLINE int behind(const float *x, int32_t a, int32_t b) { return x[a] < x[b] || (x[a] == x[b] && a > b); }

/* Lets `id` sink from place `at` of a heap of `count`, in which a parent comes behind its children. */
INLINE void sink(const float *x, int32_t *heap, long count, long at, int32_t id) {
    for (long child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && behind(x, heap[child + 1], heap[child])) child++;
        if (!behind(x, heap[child], id)) break;
        heap[at] = heap[child];
    }
    heap[at] = id;
}

/* ids = the `wanted` largest logits in falling order; of equal ones the first come first. */
OP(largest) {
    const float *x = s[0].p;
    long count = s[1].i, wanted = s[2].i;
    int32_t *heap = s[3].p;
    for (long i = 0; i < wanted; i++) heap[i] = (int32_t)i;
    for (long parent = wanted / 2 - 1; parent >= 0; parent--) sink(x, heap, wanted, parent, heap[parent]);
    for (long i = wanted; i < count; i += LANES) {
        long end = i + LANES < count ? i + LANES : count;
        if (end - i == LANES && max16(load16(x + i)) <= x[heap[0]]) continue;
        for (long j = i; j < end; j++)
            if (x[j] > x[heap[0]]) sink(x, heap, wanted, 0, (int32_t)j);
    }
    for (long left = wanted - 1; left > 0; left--) {
        int32_t last = heap[left];
        heap[left] = heap[0];
        sink(x, heap, left, 0, last);
    }
    return 0;
}
