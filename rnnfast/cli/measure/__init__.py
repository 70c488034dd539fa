"""Measuring: a layer run by rnnfast, its reference and installed peers on the same numbers, checked, then timed."""
