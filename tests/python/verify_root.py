"""Verifies a trust root with python-tuf: signed by the threshold of its own root keys.

usage: verify_root.py ROOT_JSON [SUCCESSOR_JSON]; prints version and signers, or fails.
"""

import sys

from tuf.api.metadata import Metadata, Root

root = Metadata[Root].from_file(sys.argv[1])
root.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
for path in sys.argv[2:]:
    successor = Metadata[Root].from_file(path)
    root.signed.verify_delegate(Root.type, successor.signed_bytes, successor.signatures)
    successor.signed.verify_delegate(Root.type, successor.signed_bytes, successor.signatures)
    assert successor.signed.version == root.signed.version + 1
    root = successor
print(root.signed.version, len(root.signed.unrecognized_fields["bailiwick_signers"]))
