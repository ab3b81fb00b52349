"""One page of pictures from result files."""
