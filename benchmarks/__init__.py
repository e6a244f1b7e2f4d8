"""Benchmarks: what is learned. One file, one benchmark; a .toml is a suite."""
