"""Benchmarks, run by `pytest bench --benchmark-only`: all who run one shape are rows of one group."""
