"""Reaches the URL given with the library named first, the way that library's manual begins.

Without a URL it prints the library's version. It knows nothing of Bailiwick.
"""

import asyncio
import importlib.metadata
import os
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


def with_websockets(url):
    from websockets.sync.client import connect

    with connect(url, open_timeout=30) as socket:
        socket.send("hello")
        return 200 if socket.recv() == "hello" else "no echo"


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
