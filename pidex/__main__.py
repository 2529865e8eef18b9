"""`python -m pidex` is the `pidex` command."""

from __future__ import annotations

from pidex.cli import main

if __name__ == "__main__":
    main()
