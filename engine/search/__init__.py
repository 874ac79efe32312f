"""Search, repeats and folds on Optuna: what is searched, the points that are tried, the runs of each, what came of them."""
