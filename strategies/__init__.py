"""Strategies: one file for each continual or meta-learning method."""
