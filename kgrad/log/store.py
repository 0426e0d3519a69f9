"""Files of one folder, wherever it is: a local path or any fsspec URL."""

import itertools
import os
from pathlib import Path
from typing import Any

import fsspec

from kgrad.errors import RunFolderError
from kgrad.log.schema import CLAIM_FILE


class Store:
    """Reads and writes whole files under one folder.

    A file is either there as a whole or not at all: local files are written beside their place and
    renamed, object stores do the same by their nature.

    Args:
        url: a local path or an fsspec URL such as `"s3://bucket/runs/a"` or `"memory://a"`.

    Raises:
        RunFolderError: the URL's protocol is unknown or its package is not installed.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.url = os.fspath(url).rstrip("/") or "/"
        try:
            self._files, self.root = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise RunFolderError(f"cannot open {self.url!r}: {error}") from error
        self.root = self.root.rstrip("/")
        protocol: str | tuple[str, ...] = self._files.protocol
        self.is_local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    @property
    def name(self) -> str:
        """The last part of the folder's path."""
        return str(self.root).rsplit("/", 1)[-1]

    def child(self, name: str) -> str:
        """The full path of a file in the folder."""
        return f"{self.root}/{name}"

    def exists(self, name: str = "") -> bool:
        """Whether the file (or, without a name, the folder) is there."""
        return bool(self._files.exists(self.child(name) if name else self.root))

    def is_folder(self) -> bool:
        """Whether the folder itself is there, and is one."""
        return bool(self._files.isdir(self.root))

    def read(self, name: str) -> bytes:
        """The file's content; `FileNotFoundError` where it is not there."""
        content: bytes = self._files.cat_file(self.child(name))
        return content

    def open(self, name: str) -> Any:
        """The file, open to read parts of it as bytes; `FileNotFoundError` where it is not there."""
        return self._files.open(self.child(name), "rb")

    def write(self, name: str, content: bytes) -> None:
        """Puts the whole file there at once, replacing one of the same name."""
        path = self.child(name)
        if not self.is_local:
            self._files.pipe_file(path, content)
            return
        beside = Path(f"{path}.{os.getpid()}.tmp")
        beside.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(content)
            os.replace(beside, path)
        except BaseException:  # half a file would hold the room of the next
            beside.unlink(missing_ok=True)
            raise

    def list(self, folder: str, suffix: str) -> list[str]:
        """Names (with the folder) of the files in a subfolder, sorted."""
        place = self.child(folder)
        if not self._files.isdir(place):
            return []
        found: list[Any] = self._files.ls(place, detail=False)
        return sorted(f"{folder}/{str(path).rsplit('/', 1)[-1]}" for path in found if str(path).endswith(suffix))

    def remove(self, name: str) -> None:
        """Deletes the file if it is there."""
        if self.exists(name):
            self._files.rm_file(self.child(name))

    def claim(self) -> bool:
        """Takes the folder for one run; `False` if it holds something, or another process was first."""
        if not self.is_local:
            if self._files.exists(self.root) and self._files.ls(self.root):
                return False
            self._files.makedirs(self.root, exist_ok=True)
            self._files.pipe_file(self.child(CLAIM_FILE), b"")
            return True
        Path(self.root).mkdir(parents=True, exist_ok=True)
        if os.listdir(self.root):
            return False
        try:
            os.close(os.open(self.child(CLAIM_FILE), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


def find(pattern: str) -> list[str]:
    """The paths or URLs that a glob matches, sorted.

    Raises:
        RunFolderError: the URL's protocol is unknown or its package is not installed.
    """
    try:
        files, inside = fsspec.core.url_to_fs(pattern)
    except (ValueError, ImportError) as error:
        raise RunFolderError(f"cannot open {pattern!r}: {error}") from error
    found = sorted(str(path) for path in files.glob(inside))
    if "://" in pattern:
        return [str(files.unstrip_protocol(path)) for path in found]
    return found if os.path.isabs(pattern) else [os.path.relpath(path) for path in found]


def claim_free(url: str | os.PathLike[str]) -> Store:
    """A store on a new folder: the given one, or `-2`, `-3`, ... behind it where that is taken.

    Two processes that ask for the same folder get two folders.

    Raises:
        RunFolderError: the folder cannot be made.
    """
    plain = os.fspath(url).rstrip("/")
    for number in itertools.count(1):
        store = Store(plain if number == 1 else f"{plain}-{number}")
        try:
            if store.claim():
                return store
        except OSError as error:
            raise RunFolderError(
                f"cannot make the run folder {store.url!r} ({error.strerror or error}); "
                "give GradientMonitor(run=...) a place that can be written"
            ) from error
    raise AssertionError("unreachable")
