"""WebDataset shards: tars of samples that are found by an index and read by position, from disk or any fsspec URL."""
