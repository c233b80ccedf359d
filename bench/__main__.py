"""``python -m bench``: see ``run``."""

from bench.run import main

main()
