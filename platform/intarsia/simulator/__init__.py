"""A shop with a known truth: products, pictures, judged queries and shoppers, made from a seed and from no model."""
