"""Data: sequences, conversion of text files, the RecBole data set, packed batches and pattern mining."""
