"""Stage `mask`: compute a mask of the person in every crop."""
