"""The stream loop and the episode loop, and the backends that run their steps."""
