/* The same as C++. */
#define INIT PyInit_probe_cpp
#include "probe.c"
