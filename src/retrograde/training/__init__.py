"""The two loops, and what drives a step."""
