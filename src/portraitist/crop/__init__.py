"""Stage `crop`: detect faces and cut a square with aligned head and shoulders around each of them."""
