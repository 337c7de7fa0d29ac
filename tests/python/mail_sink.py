"""A mail server for the tests: aiosmtpd, writing every message into a folder.

usage: mail_sink.py FOLDER HOST PORT; prints the port that it listens on, then serves until killed.
"""

import asyncio
import os
import sys

from aiosmtpd.smtp import SMTP


class Keep:
    def __init__(self, folder):
        self.folder = folder
        self.count = len([name for name in os.listdir(folder) if name.endswith(".eml")])

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        path = os.path.join(self.folder, f"{self.count}.eml")
        with open(path + ".part", "wb") as file:
            file.write(f"{envelope.mail_from}\n{','.join(envelope.rcpt_tos)}\n\n".encode())
            file.write(envelope.original_content)
        os.rename(path + ".part", path)
        return "250 kept"


async def main():
    folder, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    keep = Keep(folder)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(keep, enable_SMTPUTF8=True), host, port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
