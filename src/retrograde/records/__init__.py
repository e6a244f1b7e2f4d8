"""What a run leaves, and where."""
