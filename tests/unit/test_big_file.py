"""A large file is written once: what is hashed is what landed, and nothing stays of one that failed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os

import pytest

from toolkit.core.big_file import BUFFER, WholeFile, in_chunks, write_hashed
from toolkit.errors import DiskError, EngineError


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(os.urandom(2 * BUFFER + 17))
    return WholeFile(path, path.stat().st_size)


@pytest.mark.parametrize("set_aside", [0, 1, 100 << 20])
def test_the_pieces_stand_in_the_file_in_order_whatever_room_was_set_aside(tmp_path, source, set_aside):
    pieces = [b"head", source, b"", b"tail" * 100_000]
    sha256 = write_hashed(tmp_path / "out", pieces, set_aside)
    content = b"head" + source.path.read_bytes() + b"tail" * 100_000
    assert (tmp_path / "out").read_bytes() == content == b"".join(in_chunks(pieces))
    assert sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("refuses", ["to open", "to write", "nothing"])
def test_a_file_system_that_knows_no_direct_writes_gets_the_same_file(tmp_path, source, monkeypatch, refuses):
    opened, written, invalid = os.open, os.pwrite, OSError(errno.EINVAL, "Invalid argument")

    def plain_open(path, flags, mode=0o777):
        if flags & os.O_DIRECT:
            raise invalid
        return opened(path, flags, mode)

    def plain_write(descriptor, content, place):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise invalid
        return written(descriptor, content, place)

    monkeypatch.setattr(
        os, *{"to open": ("open", plain_open), "to write": ("pwrite", plain_write), "nothing": ("pwrite", written)}[refuses]
    )
    sha256 = write_hashed(tmp_path / "out", [b"head", *[source] * 3], 0)
    assert (
        hashlib.sha256((tmp_path / "out").read_bytes()).hexdigest()
        == sha256
        == hashlib.sha256(b"head" + source.path.read_bytes() * 3).hexdigest()
    )


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER])
def test_every_length_ends_where_it_should(tmp_path, size):
    content = os.urandom(size)
    sha256 = write_hashed(tmp_path / "out", [content], size)
    assert (tmp_path / "out").read_bytes() == content and sha256 == hashlib.sha256(content).hexdigest()


def test_an_empty_file_can_be_written_too(tmp_path):
    assert write_hashed(tmp_path / "out", [], 0) == hashlib.sha256(b"").hexdigest()


def test_progress_never_goes_back_and_ends_at_the_last_byte(tmp_path, source):
    told = []
    write_hashed(tmp_path / "out", [source, b"x"], source.size + 1, told.append)
    assert told == sorted(told) and told[-1] == source.size + 1


@pytest.mark.parametrize("now", [b"short", b"x" * (3 * BUFFER)])
def test_a_file_that_changes_its_size_is_an_error_and_nothing_stays(tmp_path, source, now):
    source.path.write_bytes(now)
    with pytest.raises(EngineError, match="changed while it was packed"):
        write_hashed(tmp_path / "out", [b"head", source], source.size)
    assert not (tmp_path / "out").exists()
    with pytest.raises(EngineError, match="changed while it was packed"):
        list(in_chunks([source]))


def test_a_full_disk_is_told_with_both_numbers_before_a_byte_is_written(tmp_path):
    def never():
        raise AssertionError("asked for its first piece")
        yield b""

    with pytest.raises(DiskError, match=r"takes 9007.2 TB, .* are free"):
        write_hashed(tmp_path / "out", never(), 1 << 53)
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fails_while_it_is_written_to_is_told(tmp_path, source, monkeypatch):
    def fails(descriptor, content, place):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", fails)
    pieces = [WholeFile(source.path, source.size)] * 10
    with pytest.raises(DiskError, match="Input/output error"):
        write_hashed(tmp_path / "out", pieces, 0)
    assert not (tmp_path / "out").exists()


def test_what_breaks_the_pieces_comes_through_and_nothing_stays(tmp_path):
    def broken():
        yield b"half"
        raise EngineError("The engine went away.")

    with pytest.raises(EngineError, match="went away"):
        write_hashed(tmp_path / "out", broken(), 0)
    assert not (tmp_path / "out").exists()
