"""The steps between a source and the rating core."""
