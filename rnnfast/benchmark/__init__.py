"""Comparison with peers: rnnfast and installed libraries on the same numbers, checked, then timed in turns.

`rnnfast bench` and the benchmarks in bench/ use it.

cases       the named shapes
problems    the random numbers of a shape, and the check of results against the reference in float64
contenders  everything that can run a problem here, and the number of threads
peers       other libraries, a file each
loop        the NumPy loop
timing      calls interleaved, medians, ratios
compare     one shape
suite       all shapes
report      tables and figures of a suite
machine     the processor, its peak, its bandwidths
"""
