"""Stage `augment` places people on other backgrounds. Trainings also use the random transforms of this package."""
