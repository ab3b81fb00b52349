"""Training: the stages between the data and the ranked test part, and their checkpoints."""
