/* Identity of the library, checked by kernels/native.py when it is loaded. */
__attribute__((visibility("default"))) int bezel_abi_version(void) { return 1; }
