"""Benchmarks, run by `pytest bench --benchmark-only`: cases.py names shapes, each test file compares."""
