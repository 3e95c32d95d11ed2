"""Training of encoders: tasks, losses, the training loop, checkpoints, training data, model soups."""
