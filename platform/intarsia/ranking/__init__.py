"""Learning to rank: fits a model to labelled feature rows, scores feature matrices, and explains the scores."""
