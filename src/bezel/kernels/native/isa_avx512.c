#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")
#include "avx512.h"
#define NAME(name) bezel_##name##_avx512
#include "kernels.h"
#endif
