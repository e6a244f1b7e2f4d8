"""Models: one file for each network that a benchmark may train."""
