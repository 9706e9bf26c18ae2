"""The modules shared with the host: `from shared import events`. In an image they lie beside this file, in a checkout in `toolkit/core`.

`__path__` makes a package of this module. So the folder in a checkout need not be on the path of imports, where other
modules in it would hide libraries that steps need.
"""

from pathlib import Path

HERE = Path(__file__).resolve().parent

__path__ = [str(HERE if (HERE / "events.py").exists() else HERE.parents[1] / "toolkit" / "core")]
