"""From images to the paper's tables: data set, features, hash functions, scores, report."""
