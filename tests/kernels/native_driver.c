/* Calls kernels for another process: see conftest.py, which compiles this together with them for another processor.

   A request on standard input is a function's name in 48 bytes, the number of its arguments, and the arguments, each a
   kind and then: eight bytes as they are; a size and that many bytes, whose address is given; the index of an earlier
   argument, which is given again; or a number of buffers, a table of whose addresses is given. The answer is the
   function's result and the bytes of every buffer that stands by itself. Numbers are int64. At the start the
   instruction sets are named in 64 bytes. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"

enum { VALUE, BUFFER, AGAIN, TABLE };
enum { MOST_ARGUMENTS = 32, GUARD = 64, GUARD_BYTE = 0xa5, OVERRUN = -1, UNKNOWN = -2 };

/* Declares the kernels and lists them as {"name", name}. */
#include "functions.h"

int bezel_set_threads(int wanted);
const char *bezel_instruction_sets(void);

static void get(void *to, size_t size) {
    if (size && fread(to, size, 1, stdin) != 1) exit(1);
}

static int64_t get_number(void) {
    int64_t number;
    get(&number, 8);
    return number;
}

static void put(const void *from, size_t size) {
    if (size && fwrite(from, size, 1, stdout) != 1) exit(1);
}

/* A buffer from the input, with bytes behind it that nothing may write to. */
static uint8_t *get_buffer(int64_t *size) {
    *size = get_number();
    uint8_t *bytes = malloc(*size + GUARD);
    if (!bytes) exit(1);
    get(bytes, *size);
    memset(bytes + *size, GUARD_BYTE, GUARD);
    return bytes;
}

static int overrun(const uint8_t *bytes, int64_t size) {
    for (int i = 0; i < GUARD; i++)
        if (bytes[size + i] != GUARD_BYTE) return 1;
    return 0;
}

static int64_t call(const char *name, const Slot *arguments) {
    if (!strcmp(name, "bezel_set_threads")) return bezel_set_threads((int)arguments[0].i);
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (!strcmp(name, functions[i].name)) return functions[i].call(arguments);
    return UNKNOWN;
}

int main(void) {
    char name[48], sets[64] = {0};
    strncpy(sets, bezel_instruction_sets(), sizeof sets - 1);
    put(sets, sizeof sets);
    fflush(stdout);
    while (fread(name, sizeof name, 1, stdin) == 1) {
        Slot arguments[MOST_ARGUMENTS];
        int64_t sizes[MOST_ARGUMENTS], count = get_number();
        if (count > MOST_ARGUMENTS) return 1;
        for (int64_t i = 0; i < count; i++) {
            sizes[i] = -1;
            switch (get_number()) {
            case VALUE: get(&arguments[i], 8); break;
            case BUFFER: arguments[i].p = get_buffer(&sizes[i]); break;
            case AGAIN: arguments[i] = arguments[get_number()]; break;
            case TABLE: {
                int64_t buffers = get_number(), size;
                uint8_t **table = calloc(buffers + 1, sizeof *table);
                if (!table) return 1;
                for (int64_t k = 0; k < buffers; k++) table[k] = get_buffer(&size);
                arguments[i].p = table;
                break;
            }
            default: return 1;
            }
        }
        int64_t result = call(name, arguments);
        for (int64_t i = 0; i < count; i++)
            if (sizes[i] >= 0 && overrun(arguments[i].p, sizes[i])) result = OVERRUN;
        put(&result, 8);
        for (int64_t i = 0; i < count; i++)
            if (sizes[i] >= 0) put(arguments[i].p, sizes[i]), free(arguments[i].p);
        fflush(stdout);
    }
    return 0;
}
