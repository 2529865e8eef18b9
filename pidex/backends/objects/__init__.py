"""Buckets of object stores (S3, GCS, Azure): bytes under their hash, and a cache of them on this machine."""
