"""Benchmarks: one file for each kind of stream or of few-shot tasks; a .toml is a suite."""
