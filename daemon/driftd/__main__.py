"""The entry point of the `driftd` command."""

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    # What a service waits for when it starts is dispatched before click is loaded, which takes longer than all of it.
    if len(sys.argv) > 1 and sys.argv[1] in {"exec", "gate"}:
        from driftd.startup.launch import dispatch

        code = dispatch(sys.argv[1], sys.argv[2:])
        if code is not None:
            sys.exit(code)
    from driftd.cli.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
