"""Writes archives that an evidence bundle must never be: each a way in which somebody attacks unpackers."""

import io
import pathlib
import subprocess
import sys
import tarfile

FOLDER = pathlib.Path(sys.argv[1])


def compress(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def member(name, kind=tarfile.REGTYPE, size=0, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode = kind, size, link, 0o644
    return info


def archive(name, *members, format=tarfile.GNU_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (FOLDER / f"{name}.tar.zst").write_bytes(compress(buffer.getvalue()))
    return buffer.getvalue()


archive("absolute", (member("/tmp/evil"), b"x"))
archive("parent", (member("../evil"), b"x"))
archive("parent-inside", (member("events/../../evil"), b"x"))
archive("hidden", (member(".bashrc"), b"x"))
archive("option", (member("--checkpoint-action=exec=sh"), b"x"))
archive("newline", (member("a\nb"), b"x"))
archive("symlink", (member("VERIFY.md", tarfile.SYMTYPE, link="/etc/passwd"), b""))
archive("hardlink", (member("VERIFY.md", tarfile.LNKTYPE, link="../evil"), b""))
archive("device", (member("VERIFY.md", tarfile.CHRTYPE), b""))
archive("pipe", (member("VERIFY.md", tarfile.FIFOTYPE), b""))
archive("folder", (member("events", tarfile.DIRTYPE), b""))
archive("twice", (member("a"), b"1"), (member("a"), b"2"))
archive("case-order", (member("b"), b"1"), (member("a"), b"2"))
archive("pax", (member("é" * 60), b"x"), format=tarfile.PAX_FORMAT)
archive("longname", (member("a" * 150), b"x"))
plain = archive("plain-then-more", (member("a"), b"1"))
(FOLDER / "plain-then-more.tar.zst").write_bytes(compress(plain) + b"more")
(FOLDER / "two-frames.tar.zst").write_bytes(compress(plain) + compress(plain))
(FOLDER / "not-zstd.tar.zst").write_bytes(plain)
(FOLDER / "not-tar.tar.zst").write_bytes(compress(b"hello" * 1000))
# A header that promises eight gibibytes.
info = member("a", size=8 << 30)
(FOLDER / "size.tar.zst").write_bytes(compress(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024))
# A quarter of a gibibyte of nothing, in a few kilobytes.
(FOLDER / "bomb.tar.zst").write_bytes(compress(b"\0" * (256 << 20)))
# More files than any bundle has.
many = b"".join(member(f"f{i:06}").tobuf(tarfile.GNU_FORMAT) for i in range(50_010))
(FOLDER / "many.tar.zst").write_bytes(compress(many + b"\0" * 1024))
