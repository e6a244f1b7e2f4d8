"""From a request to records."""
