/* Reading from an open file at a place of it. */
#ifndef BEZEL_FILES_H
#define BEZEL_FILES_H

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

enum { FILE_ENDS = -1 };

/* Fills `to` from the file; 0, an errno or FILE_ENDS. */
static inline int read_whole(int file, uint8_t *to, long bytes, long offset) {
    while (bytes > 0) {
        long got = pread(file, to, bytes, offset);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return got ? errno : FILE_ENDS;
        to += got, bytes -= got, offset += got;
    }
    return 0;
}

#endif
