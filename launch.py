"""Reads the command line and hands over: `python launch.py --help`."""

import sys

from distributed_kd.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
