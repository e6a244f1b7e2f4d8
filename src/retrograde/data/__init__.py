"""Datasets as arrays, and the sources that they come from."""
