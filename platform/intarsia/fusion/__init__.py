"""Fusion: methods that combine the results of several retrievers into one score per candidate."""
