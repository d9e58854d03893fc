"""python -m benchmarks [NAME ...]: run benchmarks and print their tables."""

import sys

from benchmarks import door, events, off_policy, online_store, overload, request_path
from components.artifacts.errors import RecsysError

BENCHMARKS = {
    "door": door.main,
    "events": events.main,
    "off_policy": off_policy.main,
    "online_store": online_store.main,
    "overload": overload.main,
    "request_path": request_path.main,
}


def main(names: list[str]) -> int:
    """Run the named benchmarks, all where none is named."""
    if {"-h", "--help"} & set(names):
        print(f"{__doc__}\n\nThere are {', '.join(BENCHMARKS)}; benchmarks/README.md says what each measures.")
        return 0
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    try:
        for name in names or BENCHMARKS:
            BENCHMARKS[name]()
    except RecsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
