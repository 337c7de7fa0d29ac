"""Edits the first file of a bundle whose name begins so, and packs everything again as it was packed.

    python repack.py FROM TO NAME OLD NEW

Headers are kept but for size and checksum, so that nothing but the content differs.
"""

import subprocess
import sys

source, target, name, old, new = sys.argv[1:]
data = subprocess.run(["zstd", "-dqc", source], stdout=subprocess.PIPE, check=True).stdout
packed, edited, at = b"", False, 0
while data[at : at + 512].strip(b"\0"):
    header = bytearray(data[at : at + 512])
    size = int(header[124:136].rstrip(b"\0 "), 8)
    content = data[at + 512 : at + 512 + size]
    at += 512 + size + -size % 512
    if not edited and header.startswith(name.encode()) and old.encode() in content:
        content, edited = content.replace(old.encode(), new.encode(), 1), True
        header[124:136] = b"%011o\0" % len(content)
        header[148:156] = b" " * 8
        header[148:156] = b"%07o\0" % sum(header)
    packed += bytes(header) + content + b"\0" * (-len(content) % 512)
assert edited, f"nothing to edit in {name}"
compressed = subprocess.run(["zstd", "-qc"], input=packed + b"\0" * 1024, stdout=subprocess.PIPE, check=True).stdout
open(target, "wb").write(compressed)
