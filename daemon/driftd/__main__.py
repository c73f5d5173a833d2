"""The entry point of the `driftd` command."""

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    # Imported here, so that a command which must start fast can be dispatched before click is loaded.
    from driftd.cli.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
