"""The entry point, of `retrograde` and of `python -m retrograde`: signals first, then the imports, which take seconds."""

from retrograde.running.interruption import install


def main() -> None:
    """Run the command line."""
    install()
    from retrograde.cli import main

    main()


if __name__ == "__main__":
    main()
