"""Several retrievers' opinions into one order. Which kind and weights to use is found by `pipelines/search_fusion`."""
