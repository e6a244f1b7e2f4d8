"""Datasets: one file for each source of examples that a benchmark may name."""
