"""The entry point of `retrograde` and of `python -m retrograde`."""

from retrograde.running.interruption import install


def main() -> None:
    """Run the command line."""
    # Signals come first: the imports take seconds, in which a user may press Ctrl-C.
    install()
    from retrograde.cli import main

    main()


if __name__ == "__main__":
    main()
