"""Python's garbage collector in a process that holds much and answers fast."""

import gc


def settle() -> None:
    """Take what lives now out of the collector's sight, after what is unreachable was freed.

    A full collection visits every object: the 400,000 of a bundle with its libraries take 0.1 to 0.2 s, in which nothing is
    answered, and answers that are kept for a while bring it on every few hundred requests. What is out of sight is still
    freed when its last reference goes; only cycles of it wait until this is called again.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
