"""What the author of a part subclasses or is handed."""
