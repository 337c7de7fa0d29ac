"""Reaches the URL given with the library named first, the way that library's manual begins.

Without a URL it prints the library's version. It knows nothing of Bailiwick, but for the
files of a client certificate where one is what it comes in with.
"""

import asyncio
import importlib.metadata
import os
import ssl
import sys
import urllib.parse
import urllib.request


def with_requests(url):
    import requests

    return requests.get(url, timeout=30).status_code


def with_urllib(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.status


def with_httpx(url):
    import httpx

    return httpx.get(url, timeout=30).status_code


def with_aiohttp(url, **session):
    import aiohttp

    async def get():
        async with aiohttp.ClientSession(**session) as client, client.get(url) as answer:
            return answer.status

    return asyncio.run(get())


def with_aiohttp_trust_env(url):
    return with_aiohttp(url, trust_env=True)


def with_urllib3(url):
    import urllib3

    return urllib3.PoolManager(retries=False).request("GET", url).status


def with_urllib3_proxy_manager(url):
    import urllib3

    proxy = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"])
    manager = urllib3.ProxyManager(
        f"http://{proxy.hostname}:{proxy.port}",
        proxy_headers=urllib3.make_headers(proxy_basic_auth=f"{proxy.username}:{proxy.password}"),
        retries=False,
    )
    return manager.request("GET", url).status


def with_urllib3_tls(url):
    import urllib3

    gateway = ssl.create_default_context(cafile=os.environ["BAILIWICK_PROXY_CA"])
    gateway.load_cert_chain(os.environ["BAILIWICK_PROXY_CERT"], os.environ["BAILIWICK_PROXY_KEY"])
    manager = urllib3.ProxyManager(os.environ["HTTPS_PROXY"], proxy_ssl_context=gateway, retries=False)
    return manager.request("GET", url).status


def with_websockets(url):
    from websockets.sync.client import connect

    with connect(url, open_timeout=30) as socket:
        socket.send("hello")
        return 200 if socket.recv() == "hello" else "no echo"


def with_h2(url):
    """A stream as a tunnel, or as a request, with the frames of the library and a socket of our own."""
    import base64
    import socket

    import h2.connection
    import h2.events

    proxy = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"])
    target = urllib.parse.urlsplit(url)
    pair = base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
    plain = target.scheme == "http"
    head = [(":method", "GET" if plain else "CONNECT")]
    if plain:
        head += [(":scheme", "http"), (":path", target.path or "/")]
    authority = target.netloc if plain else f"{target.hostname}:{target.port or 443}"
    head += [(":authority", authority), ("proxy-authorization", f"Basic {pair}")]

    # The library holds a CONNECT without :path to be malformed unless told not to look.
    config = h2.config.H2Configuration(validate_outbound_headers=plain, normalize_outbound_headers=plain)
    frames = h2.connection.H2Connection(config)
    wire = socket.create_connection((proxy.hostname, proxy.port), timeout=30)
    frames.initiate_connection()
    stream = frames.get_next_available_stream_id()
    frames.send_headers(stream, head, end_stream=plain)
    status, body, over = None, b"", False

    def exchange():
        nonlocal status, body, over
        wire.sendall(frames.data_to_send())
        data = wire.recv(65536)
        if not data:
            over = True
        for event in frames.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                fields = {bytes(name): bytes(value) for name, value in event.headers}
                status = int(fields[b":status"])
            elif isinstance(event, h2.events.DataReceived):
                body += event.data
                frames.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                over = True

    while status is None and not over:
        exchange()
    if plain or status != 200:
        while not over:
            exchange()
        return status

    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=target.hostname)

    def through(act):
        nonlocal body
        while True:
            try:
                result = act()
            except ssl.SSLWantReadError:
                result = None
            if data := outgoing.read():
                frames.send_data(stream, data)
                wire.sendall(frames.data_to_send())
            if result is not None:
                return result
            exchange()
            incoming.write(body)
            body = b""

    through(lambda: tls.do_handshake() or True)
    request = f"GET {target.path or '/'} HTTP/1.1\r\nHost: {target.hostname}\r\nConnection: close\r\n\r\n"
    through(lambda: tls.write(request.encode()))
    return int(through(lambda: tls.read(4096)).split()[1])


def with_openai(url):
    from openai import AzureOpenAI

    parts = urllib.parse.urlsplit(url)
    client = AzureOpenAI(
        azure_endpoint=f"{parts.scheme}://{parts.netloc}",
        api_key="not-a-secret",
        api_version="2024-10-21",
        max_retries=0,
    )
    answer = client.embeddings.create(model=parts.path.strip("/"), input=["a text"])
    return 200 if len(answer.data) == 1 else "no vector"


library = sys.argv[1]
if len(sys.argv) == 2:
    package = library.split("-")[0]
    print(sys.version if package == "urllib" else importlib.metadata.version(package))
else:
    status = globals()["with_" + library.replace("-", "_")](sys.argv[2])
    if status != 200:
        sys.exit(f"{library}: {status}")
