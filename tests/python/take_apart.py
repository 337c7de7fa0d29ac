"""Takes a letter apart with Python's library: writes its parts into a folder and prints what it is.

usage: take_apart.py LETTER FOLDER
"""

import email
import email.policy
import json
import os
import sys

with open(sys.argv[1], "rb") as file:
    letter = email.message_from_binary_file(file, policy=email.policy.default)
parts, pictures = [], []
for part in letter.walk():
    if part.is_multipart():
        parts.append(part.get_content_type())
        continue
    name = part.get_filename()
    parts.append(part.get_content_type() + (f" {name}" if name else ""))
    if part.get("Content-ID"):
        pictures.append(part["Content-ID"].strip("<>"))
    if name:
        with open(os.path.join(sys.argv[2], os.path.basename(name)), "wb") as file:
            file.write(part.get_payload(decode=True))
text = letter.get_body(("plain",)).get_content()
html = letter.get_body(("html",)).get_content()
print(json.dumps({
    "headers": {name: str(value) for name, value in letter.items()},
    "defects": [str(defect) for part in letter.walk() for defect in part.defects],
    "parts": parts, "pictures": pictures, "text": text, "html": html}))
