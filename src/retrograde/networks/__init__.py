"""Networks, and checks of those that a user brings."""
