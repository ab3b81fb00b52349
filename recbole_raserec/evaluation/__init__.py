"""Evaluation: both ranking protocols in one pass, RecBole's metrics of the ranks, and paired intervals."""
