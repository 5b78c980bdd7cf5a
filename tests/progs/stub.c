/* Only ever linked against: a program built with it asks for libcuda.so.1 and its symbols. */
#define E(name, since, policy, nargs, classes) int name(void) { return 999; }
#include "../../shim/api.def"
