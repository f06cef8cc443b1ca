"""Stage `augment`, which places people on other backgrounds, and random transforms of pictures during training."""
