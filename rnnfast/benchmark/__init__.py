"""Comparison with peers: rnnfast and installed libraries on the same numbers, verified, then timed in turns.

`rnnfast bench` and the benchmarks in bench/ share it.

cases       the named shapes
problems    the numbers of a shape; results compared with the reference in float64
contenders  all who can run a problem, and their threads
peers       other libraries
loop        the NumPy loop
timing      calls interleaved, medians, ratios
compare     one shape
suite       all shapes
report      tables and figures of a suite
machine     the processor, its peak, its bandwidths
"""
