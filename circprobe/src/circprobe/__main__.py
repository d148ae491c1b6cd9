"""Run the command with `python -m circprobe`."""

from circprobe.cli import main

main()
