"""One HTTP protocol a module."""
