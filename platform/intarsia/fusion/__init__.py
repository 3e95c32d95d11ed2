"""Fusion: combine the scores of several retrievers into one order."""
