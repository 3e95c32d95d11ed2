"""A feature matrix to scores, and why. Which features there are is `features/`' matter."""
