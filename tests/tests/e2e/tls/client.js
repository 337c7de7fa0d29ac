// TLS inside a tunnel that is itself in TLS, by client certificate, with Node's tls alone.
const fs = require("fs");
const tls = require("tls");

const { hostname, port } = new URL(process.env.BAILIWICK_PROXY_URL);
const host = process.argv[2];
const outer = tls.connect({
  host: hostname,
  port: Number(port),
  ca: fs.readFileSync(process.env.BAILIWICK_PROXY_CA),
  cert: fs.readFileSync(process.env.BAILIWICK_PROXY_CERT),
  key: fs.readFileSync(process.env.BAILIWICK_PROXY_KEY),
  ALPNProtocols: ["http/1.1"],
});
outer.once("secureConnect", () => {
  outer.write(`CONNECT ${host}:443 HTTP/1.1\r\n\r\n`);
  outer.once("data", (answer) => {
    if (!answer.toString().startsWith("HTTP/1.1 200 ")) throw new Error(answer.toString());
    const inner = tls.connect({
      socket: outer,
      servername: host,
      ca: fs.readFileSync(process.env.SSL_CERT_FILE),
    });
    let got = "";
    inner.on("data", (bytes) => (got += bytes));
    inner.on("end", () => {
      if (!got.startsWith("HTTP/1.1 200")) throw new Error(got);
      console.log("inner");
    });
    inner.write(`GET /inner HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  });
});
