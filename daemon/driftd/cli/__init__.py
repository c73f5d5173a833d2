"""The command line: one file for each command, rendering apart in `render/`, errors in one place (`main.py`)."""
