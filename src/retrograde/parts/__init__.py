"""Parts, the dataclasses of settings that files of the three folders define, found by name."""
