"""Through the gateway's TLS listener by client certificate: plain HTTP with http.client, and TLS
inside a tunnel that is itself in TLS, with nothing but the standard library."""

import http.client
import os
import ssl
import sys
from urllib.parse import urlsplit

proxy = urlsplit(os.environ["BAILIWICK_PROXY_URL"])
plain_host, tls_host = sys.argv[1:]

to_proxy = ssl.create_default_context(cafile=os.environ["BAILIWICK_PROXY_CA"])
to_proxy.load_cert_chain(os.environ["BAILIWICK_PROXY_CERT"], os.environ["BAILIWICK_PROXY_KEY"])

connection = http.client.HTTPSConnection(proxy.hostname, proxy.port, context=to_proxy)
for _ in range(2):
    connection.request("GET", f"http://{plain_host}/plain")
    response = connection.getresponse()
    assert response.status == 200, response.status
    response.read()

outer = http.client.HTTPSConnection(proxy.hostname, proxy.port, context=to_proxy)
outer.connect()
outer.sock.sendall(f"CONNECT {tls_host}:443 HTTP/1.1\r\n\r\n".encode())
answer = b""
while b"\r\n\r\n" not in answer:
    answer += outer.sock.recv(4096)
assert answer.startswith(b"HTTP/1.1 200 "), answer

incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
inner = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"]).wrap_bio(
    incoming, outgoing, server_hostname=tls_host
)


def until(step):
    while True:
        try:
            result = step()
            outer.sock.sendall(outgoing.read())
            return result
        except ssl.SSLWantReadError:
            outer.sock.sendall(outgoing.read())
            received = outer.sock.recv(65536)
            if received:
                incoming.write(received)
            else:
                incoming.write_eof()


until(inner.do_handshake)
until(lambda: inner.write(f"GET /inner HTTP/1.1\r\nHost: {tls_host}\r\nConnection: close\r\n\r\n".encode()))
status = until(lambda: inner.read(15))
assert status.startswith(b"HTTP/1.1 200"), status
print("both")
