"""Stage clean: decode untrusted files safely, reject pictures that cannot be used, and remove near-duplicates."""
