"""Is it more than noise? Repeats pooled, claims judged, the ancestor that moved a metric."""
