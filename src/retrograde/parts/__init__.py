"""What a file of the three folders is: a dataclass of settings, found by name."""
