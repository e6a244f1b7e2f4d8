"""The path from a request to records: planning, checks, worker processes and output."""
