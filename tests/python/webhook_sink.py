"""A webhook's receiver for the tests: refuses the first delivery, verifies the others by the Standard
Webhooks specification with nothing but Python's library, and writes each body into a folder.

usage: webhook_sink.py FOLDER SECRET; prints the port that it listens on, then serves until killed.
"""

import base64
import hashlib
import hmac
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

folder, secret = sys.argv[1], base64.b64decode(sys.argv[2].removeprefix("whsec_"))
asked = 0


class Sink(BaseHTTPRequestHandler):
    def do_POST(self):
        global asked
        asked += 1
        body = self.rfile.read(int(self.headers["content-length"]))
        name, moment = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        signed = f"{name}.{moment}.".encode() + body
        expected = "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        good = hmac.compare_digest(expected, self.headers["webhook-signature"])
        fresh = abs(time.time() - int(moment)) < 300
        if asked == 1:
            return self.answer(503)
        if not (good and fresh):
            return self.answer(401)
        path = os.path.join(folder, f"{asked:04}-{name}.json")
        with open(path + ".part", "wb") as file:
            file.write(body)
        os.rename(path + ".part", path)
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Sink)
print(server.server_port, flush=True)
server.serve_forever()
