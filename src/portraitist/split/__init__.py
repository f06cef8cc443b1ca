"""Stage `split`: assign every face to training, validation or test."""
