"""Feature fusion: what a query and a product are, in words and pictures, compared before any retriever has scored them."""
