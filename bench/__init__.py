"""The benchmark: pidex beside nginx, devpi and pypiserver over the same files on one machine."""
