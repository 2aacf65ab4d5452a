"""What may be built: kinds and their options, architectures, search spaces. Nothing here knows torch."""
