"""Score fusion: methods that combine the scores and ranks of the retrievers."""
