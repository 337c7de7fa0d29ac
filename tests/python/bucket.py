"""An S3-compatible server that nobody here wrote (moto), with one bucket in it.

It checks signatures, for one key that it makes up. How it treats files of the archive is read from a file
for every request, so that a test can have it lie and then mend its ways:

    honest    as it is
    drops     says yes to a put and keeps nothing
    changes   says yes to a put and keeps something else
    away      answers nothing but 503

    bucket.py BUCKET CREDENTIALS MANNER [CERTIFICATE KEY]

It writes the key to CREDENTIALS, as tools of AWS keep theirs, and prints its port when it is ready.
"""

import io
import json
import os
import pathlib
import sys

os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "1000000000"

from moto import settings  # noqa: E402
from moto.core import DEFAULT_ACCOUNT_ID, set_initial_no_auth_action_count  # noqa: E402,F401
from moto.iam.models import iam_backends  # noqa: E402
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # noqa: E402
from moto.s3.models import s3_backends  # noqa: E402
from werkzeug.serving import make_server  # noqa: E402

REGION = "us-east-1"


def credentials():
    """Somebody who may do anything with S3, and nothing else."""
    iam = iam_backends[DEFAULT_ACCOUNT_ID]["global"]
    iam.create_user(REGION, "bailiwick")
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.put_user_policy("bailiwick", "archive", json.dumps(document))
    key = iam.create_access_key("bailiwick")
    return key.access_key_id, key.secret_access_key


class Bucket:
    """The server, in a manner."""

    def __init__(self, manner):
        self.manner = pathlib.Path(manner)
        self.moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ, start_response):
        manner = self.manner.read_text().strip()
        is_put = environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].endswith(".parquet")
        if manner == "away":
            start_response("503 Service Unavailable", [("Content-Length", "0")])
            return [b""]
        if manner == "drops" and is_put:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("200 OK", [("Content-Length", "0"), ("ETag", '"lie"')])
            return [b""]
        if manner == "changes" and is_put:
            answer = self.moto(environ, start_response)
            name = environ["PATH_INFO"].split("/", 2)[2]
            kept = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_object(self.bucket, name)
            body = bytearray(kept.value)
            body[len(body) // 2] ^= 1
            kept.value = bytes(body)
            return answer
        return self.moto(environ, start_response)


def main():
    bucket, credentials_file, manner, *tls = sys.argv[1:]
    key, secret = credentials()
    fd = os.open(credentials_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as out:
        out.write(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].create_bucket(bucket, REGION)
    app = Bucket(manner)
    app.bucket = bucket
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=tuple(tls) if tls else None)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
