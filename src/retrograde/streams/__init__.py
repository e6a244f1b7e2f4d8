"""What is learned continually: values, without training."""
