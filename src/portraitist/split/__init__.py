"""Stage `split`: assign every crop to training, validation or test."""
