"""Distributions of few-shot tasks: values, without training."""
