"""Offline experiments: judged queries through a release, fusion search, method comparison, missing images."""
