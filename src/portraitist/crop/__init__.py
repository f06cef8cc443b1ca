"""Stage `crop`: detect faces, and cut an aligned square with head and shoulders around each face."""
