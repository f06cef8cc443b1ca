"""Stage clean: decode untrusted files safely, reject what cannot be used, remove near-duplicates."""
