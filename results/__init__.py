"""Results: tables and figures of records. One file, one table or figure."""
