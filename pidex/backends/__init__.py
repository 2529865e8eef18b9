"""One technology a module: folders, child processes."""
