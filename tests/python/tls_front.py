"""TLS in front of a server that speaks none, as an operator's reverse proxy would stand there.

usage: tls_front.py CERTIFICATE KEY PORT; prints the port that it listens on, then carries bytes between its clients
and 127.0.0.1:PORT until killed.
"""

import asyncio
import ssl
import sys

certificate, key, behind = sys.argv[1], sys.argv[2], int(sys.argv[3])


async def carry(source, target):
    try:
        while chunk := await source.read(65536):
            target.write(chunk)
            await target.drain()
    except (ConnectionError, ssl.SSLError):
        pass
    finally:
        target.close()


async def serve(reader, writer):
    try:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", behind)
    except ConnectionError:
        return writer.close()
    await asyncio.gather(carry(reader, inner_writer), carry(inner_reader, writer))


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
