"""Fetches each URL given, with the library named first: requests, httpx or urllib. Prints the statuses."""

import sys
import urllib.request


def status(library, url):
    if library == "requests":
        import requests

        return requests.get(url, timeout=30).status_code
    if library == "httpx":
        import httpx

        return httpx.get(url, timeout=30).status_code
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.status


for url in sys.argv[2:]:
    print(status(sys.argv[1], url), url)
