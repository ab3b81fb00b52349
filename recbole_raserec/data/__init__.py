"""Sequences, their conversion to atomic files, the RecBole data set and packed batches."""
