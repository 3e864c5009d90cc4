"""Files over the network: whole and as announced, or not at all; a part is kept for the next try."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

import voxelome
from voxelome.errors import InputError
from voxelome.segmentation.cards import file_sha256

CHUNK = 1 << 20
TIMEOUT = 60  # seconds
TRIES = 3  # that bring nothing, one after the other
AGAIN = "run the command again: it goes on where it stopped"


def download(
    url: str, path: Path, sha256: str, size: int, say: Callable[[str], None] = lambda text: None
) -> None:
    """Bring a file here, unless it is here; it appears under its name only when it is whole.

    What has arrived lies beside `path`, in a file that ends in ``.part``; the next call asks for the rest.

    Parameters
    ----------
    url : str
        Of the scheme http, https or file.
    path : path
        Where it goes.
    sha256 : str
        Its checksum.
    size : int
        Its bytes.
    say : callable
        Told what happens.

    Raises
    ------
    InputError
        It cannot be reached, stops early, or is not the file that was announced.
    """
    if path.is_file() and path.stat().st_size == size and file_sha256(path) == sha256:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    resumed = _bytes_of(part) > 0
    _fill(url, part, size, say)
    if resumed and not _is(part, sha256, size):
        # The file may have changed between the two halves.
        say(f"{url}: what had arrived before does not fit; from the start again")
        part.unlink()
        _fill(url, part, size, say)
    if not _is(part, sha256, size):
        found, arrived = file_sha256(part), part.stat().st_size
        part.unlink()
        problem = f"is not the file that the registry names ({arrived} bytes, sha256 {found})"
        raise InputError(
            url, problem, "check the address; if the file was changed there, mend its sha256 and size"
        )
    part.replace(path)


def _is(path: Path, sha256: str, size: int) -> bool:
    return path.stat().st_size == size and file_sha256(path) == sha256


def _fill(url: str, part: Path, size: int, say: Callable[[str], None]) -> None:
    """Bring what is missing of a file; ask again a few times where the connection breaks."""
    if urlsplit(url).scheme == "file":
        source = Path(unquote(urlsplit(url).path))
        if not source.is_file():
            raise InputError(url, "there is no such file", "check the address")
        shutil.copyfile(source, part)
        return
    have, idle, problem = _bytes_of(part), 0, ""
    while have < size and idle < TRIES:
        say(f"{url}: {f'going on at {have:,} of' if have else 'fetching'} {size:,} bytes")
        try:
            _receive(url, part, have, size)
        except HTTPError as error:
            if error.code == 416:
                part.unlink()
                remedy = "run the command again; if it says the same, mend the size in the entry"
                raise InputError(url, f"has no more than {have:,} of {size:,} bytes", remedy) from error
            remedy = "check the address" if error.code < 500 else "try again later"
            raise InputError(url, f"cannot be fetched (HTTP {error.code} {error.reason})", remedy) from error
        except (URLError, HTTPException, OSError) as error:
            problem = f" ({' '.join(str(error).split()) or type(error).__name__})"
        before, have = have, _bytes_of(part)
        idle = 0 if have > before else idle + 1
    if have < size:
        raise InputError(url, f"stopped at {have:,} of {size:,} bytes{problem}", AGAIN)


def _bytes_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _receive(url: str, part: Path, have: int, size: int) -> None:
    """Add to a file what a server sends, from byte `have` on if it can do that."""
    request = Request(url, headers={"User-Agent": f"voxelome/{voxelome.__version__}"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with _opener().open(request, timeout=TIMEOUT) as answer:
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        if have and answer.status == 206 and not goes_on:
            raise HTTPException(f"another part than asked for: {answer.headers.get('Content-Range')}")
        received = have if goes_on else 0
        with part.open("ab" if goes_on else "wb") as file:
            while chunk := answer.read(CHUNK):
                received += len(chunk)
                if received > size:
                    file.truncate(0)
                    raise InputError(url, f"sends more than the {size:,} bytes announced", "check its entry")
                file.write(chunk)


def _opener() -> OpenerDirector:
    """Opens http and https, and follows redirections to them; there is no handler of anything else."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPDefaultErrorHandler(),
        HTTPRedirectHandler(),
        HTTPErrorProcessor(),
        UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
