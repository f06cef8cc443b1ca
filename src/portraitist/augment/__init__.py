"""Stage `augment`: place people on other backgrounds, and transform pictures and masks during training."""
