"""`python -m retrograde`."""

from retrograde.cli import main

main()
