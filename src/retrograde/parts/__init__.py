"""Parts, the dataclasses of settings that files of each kind define, found by name."""
