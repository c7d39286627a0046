"""Files are written whole or not at all."""

from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path):
    """A temporary path beside ``path`` that takes its place only if the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
