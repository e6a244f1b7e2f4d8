"""The contract that every strategy must satisfy, as checks that can be run."""
