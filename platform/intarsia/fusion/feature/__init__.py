"""Feature fusion: methods that score a query and a product by their text and image vectors."""
