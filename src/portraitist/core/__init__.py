"""Code that all packages share: parameters, files, shards, manifests, image codecs, worker processes."""
