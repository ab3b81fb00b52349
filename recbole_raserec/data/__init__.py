"""Data: sequences, conversion of files and frames, the RecBole data set, packed batches and pattern mining."""
