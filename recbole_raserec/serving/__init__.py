"""A trained model for other programs. This room knows only the recommender."""
