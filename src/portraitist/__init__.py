"""A selfie becomes a hand-painted avatar."""
