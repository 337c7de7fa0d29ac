"""Verifies a Sigstore bundle's DSSE envelope with securesystemslib.

usage: verify_dsse.py BUNDLE PUBLIC_KEY_PEM; prints the payload, or fails.
"""

import json
import sys

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

with open(sys.argv[1], "rb") as file:
    envelope = json.load(file)["dsseEnvelope"]
with open(sys.argv[2], "rb") as file:
    public = load_pem_public_key(file.read())

keyid = envelope["signatures"][0]["keyid"]
parsed = Envelope.from_dict(envelope)
parsed.verify([SSlibKey.from_crypto(public, keyid=keyid)], 1)
sys.stdout.buffer.write(parsed.payload)
