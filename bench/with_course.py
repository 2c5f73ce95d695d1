"""
One exporter of the course alone, timed from when it has its DataFrame: `python with_course.py BLOCK FRAME`.

`python with_course.py frame URL FRAME` makes that DataFrame by the course's own loader and transformer. It is handed
over as a pickle, so that its arrival adds least to the peak. The last line printed holds the seconds.
"""

import json
import os
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pandas as pd

COURSE = Path(__file__).resolve().parent / "course"
os.environ["MAGE_REPO_PATH"] = str(COURSE)


def block(path: str):
    """The function of a block file."""
    spec = spec_from_file_location(Path(path).stem, COURSE / path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, Path(path).stem)


def main(name: str, *arguments: str) -> None:
    """Make the frame, or export it."""
    if name == "frame":
        url, frame = arguments
        trips = block("data_loaders/read_trips.py")(url=url)
        block("transformers/drop_empty_trips.py")(trips).to_pickle(frame)
        return
    export = block(f"data_exporters/{name}.py")
    trips = pd.read_pickle(arguments[0])  # noqa: S301  our own
    started = time.perf_counter()
    export(trips)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "steps": {}}), flush=True)
    os._exit(0)  # pyarrow's GcsFileSystem() with a key now and then aborts a Python that ends; the work is done


if __name__ == "__main__":
    main(*sys.argv[1:])
