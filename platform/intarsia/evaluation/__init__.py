"""Metrics, significance tests, learning curves and reports on judged queries."""
