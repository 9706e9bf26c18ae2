"""Benchmarks: `python -m tests.bench` measures what the README promises and writes BENCHMARKS.md."""
