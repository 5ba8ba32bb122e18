"""`python -m batchembed` is the installed command."""

from __future__ import annotations

if __name__ == "__main__":
    from batchembed.cli.main import console

    console()
