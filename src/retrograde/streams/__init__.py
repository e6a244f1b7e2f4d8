"""Streams of tasks, memories and schedules: values, without training."""
