"""The command line as spark-submit starts it: a file, with the arguments of `recsys` behind it."""

import sys

sys.path.pop(0)  # this file's folder, where Python looks first: its modules would hide packages of the same name

from pipelines.cli.main import main

if __name__ == "__main__":
    main()
