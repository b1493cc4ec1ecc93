"""Strategies from a folder outside the clone (`--strategies DIR`): each file is one module, loaded by its path."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load_folder(folder: Path) -> list[ModuleType]:
    """Every `*.py` of `folder`, in order of name. Raises ValueError with a sentence that names the file."""
    if not folder.is_dir():
        raise ValueError(f"--strategies {folder}: there is no such folder")
    files = sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))
    if not files:
        raise ValueError(f"--strategies {folder}: it holds no .py file")
    return [load_file(path) for path in files]


def load_file(path: Path) -> ModuleType:
    name = f"bulkhead_strategy_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} cannot be loaded as a module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a stranger's file raises, the user gets file and reason
        del sys.modules[name]
        raise ValueError(f"{path} raises {type(error).__name__} when loaded: {error}") from error
    return module
