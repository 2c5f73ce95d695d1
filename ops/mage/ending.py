"""
How a process of Mage ends: when its exit handlers have run, without the tearing down of the interpreter after them.

A thread of pyarrow may let go of a Python object that late, such as the file that Mage reads a block's output from. The
interpreter ends such a thread in a place where C++ allows none to end, and a run that has done all of its work aborts:
"terminate called without an active exception", exit code 134, https://github.com/apache/arrow/issues/34314.
"""

import atexit
import os
import sys
from collections.abc import Callable


def run(command: Callable[[], None]) -> None:
    """
    Do the command and end this process with its exit code, which is 1 after an error that nobody caught.

    To be called before anything else registers an exit handler: the first that was registered is the last to run.
    """
    code = 1

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(leave)
    try:
        command()
        code = 0
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            code = ending.code or 0
        raise
