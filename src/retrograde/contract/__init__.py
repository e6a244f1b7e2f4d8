"""What every strategy must satisfy."""
