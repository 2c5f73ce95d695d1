"""CSV, packed or not, to blocks of whole lines, in memory that does not grow with the file."""

import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast
from zipfile import BadZipFile, ZipFile, ZipInfo

from isal import igzip_lib, igzip_threaded

from nyc_taxi.errors import NotATripFile, few

BLOCK_BYTES = 8 << 20
LINE_BYTES = 1 << 20
"""A longer line is no line of a trip file: those of the city have up to 277 bytes."""
EXPANSION = 100
"""Times its own size that a packed file may unpack to: the city's files give 3 to 5 times, a bomb a thousand."""
SMALL_BYTES = 64 << 20
"""What any file may unpack to."""
# The stub of IsalError calls it an instance; it is a class. NotImplementedError: a zip's way of packing.
UNPACKING_ERRORS = (
    EOFError,
    OSError,
    zlib.error,
    BadZipFile,
    NotImplementedError,
    cast(type[Exception], igzip_lib.IsalError),
)
UTF_8_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_CR_ALONE = re.compile(rb"[^\r\n]*\r(?!\r*\n)")
_BLANK_LINES = re.compile(rb"(?:[ \t]*\r*\n)*")


def header_and_blocks(path: Path, encoding: str = "utf-8") -> tuple[bytes, Iterator[bytes]]:
    """
    The first line that is not blank, without its end, and blocks of the whole lines after it, in UTF-8.

    Raises NotATripFile for a file that is damaged, a bomb, or a zip of anything but one file, and for a line of more
    than a megabyte; most of it while the blocks are read.
    """
    blocks = _blocks(path)
    if encoding != "utf-8":
        blocks = (block.decode(encoding).encode() for block in blocks)
    for block in blocks:
        text = block[cast(re.Match[bytes], _BLANK_LINES.match(block)).end() :]
        if text:
            header, _, rest = text.partition(b"\n")
            return _line(header, path.name).rstrip(b"\r"), _chained(rest, blocks)
    return b"", blocks


def first_line(error: BaseException) -> str:
    """What a library says of an error, without its second line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _chained(rest: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    if rest:
        yield rest
    yield from blocks


def _blocks(path: Path) -> Iterator[bytes]:
    """Blocks of whole lines; the last one may lack its end."""
    try:
        with _opened(path) as stream:
            yield from _bounded(_whole_lines(stream, path.name), path)
    except UNPACKING_ERRORS as error:
        raise NotATripFile(
            f"{path.name} is truncated or damaged ({first_line(error)}): run again to fetch it anew"
        ) from None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file, unpacked as its name ends."""
    if path.suffix == ".gz":
        # A thread of the library unpacks ahead of the parser.
        with igzip_threaded.open(path, "rb", threads=1) as stream:  # type: ignore[no-untyped-call]
            yield stream
    elif path.suffix == ".zip":
        with ZipFile(path) as archive, archive.open(_only_member(archive, path.name)) as member:
            yield cast(BinaryIO, member)
    else:
        with path.open("rb") as file:
            yield file


def _only_member(archive: ZipFile, file: str) -> ZipInfo:
    # A Mac adds a folder of its own to every zip.
    members = [info for info in archive.infolist() if not info.is_dir() and not info.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        held = f"{len(members)} files ({few([info.filename for info in members], 3)})" if members else "no file"
        raise NotATripFile(f"{file} holds {held}: a zip of one CSV file can be read, others must be unpacked first")
    if members[0].flag_bits & 1:
        raise NotATripFile(f"{file} is encrypted: publish it without a password")
    return members[0]


def _whole_lines(stream: BinaryIO, name: str) -> Iterator[bytes]:
    # A small first block: what is left of it behind the header is held for as long as the file is read.
    first = stream.read(min(LINE_BYTES, BLOCK_BYTES)).removeprefix(UTF_8_MARK)
    if first.startswith(UTF_16_MARKS):
        raise NotATripFile(f"{name} is written in UTF-16, as some spreadsheets do: publish it in UTF-8")
    cr_alone = bool(_CR_ALONE.match(first))
    rest, chunk = b"", first
    while chunk:
        if cr_alone:
            chunk = chunk.replace(b"\r", b"\n")
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield rest + chunk[:cut]
            rest = _line(chunk[cut:], name)
        else:
            rest = _line(rest + chunk, name)
        chunk = stream.read(BLOCK_BYTES)
    if rest:
        yield rest


def _line(begun: bytes, name: str) -> bytes:
    if len(begun) > LINE_BYTES:
        raise NotATripFile(f"{name} has a line of more than {LINE_BYTES:,} bytes: it is no trip file; check the origin")
    return begun


def _bounded(blocks: Iterable[bytes], path: Path) -> Iterator[bytes]:
    """The same blocks, until they are more than a trip file of this size can hold: a bomb must not fill the disk."""
    most, unpacked = max(SMALL_BYTES, path.stat().st_size * EXPANSION), 0
    for block in blocks:
        unpacked += len(block)
        if unpacked > most:
            raise NotATripFile(
                f"{path.name} unpacks to more than {EXPANSION} times its size: it is no trip file; check the origin"
            )
        yield block
