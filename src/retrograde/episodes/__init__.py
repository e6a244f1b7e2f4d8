"""What is learned from few examples: distributions of tasks, without training."""
