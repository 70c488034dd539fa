"""Measuring: rnnfast, its reference and installed peers on the same numbers, checked, then timed in turns."""
