"""A generated shop with known truth: products, images, judged queries and an event log, drawn from a seed."""
