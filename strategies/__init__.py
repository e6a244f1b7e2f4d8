"""Strategies: how it is learned. One file, one method."""
