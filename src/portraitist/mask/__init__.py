"""Stage `mask`: segment the person in every crop."""
