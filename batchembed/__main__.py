"""The installed command, which is also `python -m batchembed`."""

from __future__ import annotations

import os
import sys


def console() -> None:
    """Run the command, and exit. A Ctrl-C while it is still being imported is told in one word, too."""
    # numpy's BLAS is not used here; its threads would spin for a tenth of a second once imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Arrow's own allocator keeps what was freed: a run would be larger by 20 MB.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        from batchembed.cli.main import main  # noqa: PLC0415  what is imported can be interrupted
    except KeyboardInterrupt:
        sys.stderr.write("batchembed: interrupted\n")
        sys.exit(130)
    sys.exit(main())


if __name__ == "__main__":
    console()
