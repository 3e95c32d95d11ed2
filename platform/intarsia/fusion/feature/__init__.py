"""Feature fusion: methods that combine query and product vectors before any retriever has scored them."""
