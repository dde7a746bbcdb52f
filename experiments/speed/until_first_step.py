"""Runs a script up to its first optimizer step, prints the time, and ends: `until_first_step.py SCRIPT [word ...]`.

A finder wakes up when the script itself imports torch, and nothing is imported before.
"""

import importlib.machinery
import os
import runpy
import sys
import time
from pathlib import Path


class Watch:
    """Once torch.optim is there, lets the first step of any optimizer be the last."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Of `torch.optim.optimizer`, with a hook added when it was executed."""
        if fullname != "torch.optim.optimizer":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        execute = spec.loader.exec_module

        def exec_module(module: object) -> None:
            execute(module)
            module.register_optimizer_step_post_hook(end)

        spec.loader.exec_module = exec_module
        return spec


def end(*_: object) -> None:
    """The first step was taken."""
    sys.stdout.write(f"\nfirst step at {time.time():.6f}\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.meta_path.insert(0, Watch())
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
