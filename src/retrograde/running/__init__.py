"""The path from pairs of parts to records: planning, checks, worker processes and output."""
