"""Compare ways to search on networks that somebody trained before: in seconds, with many seeds."""
