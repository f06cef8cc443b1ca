"""Stage `augment`, which places people on other backgrounds; and the random transforms that trainings apply."""
