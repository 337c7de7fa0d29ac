// Reaches the URL given with the library named first, the way that library's manual begins. Without a
// URL it prints the library's version. It knows nothing of Bailiwick.
'use strict';

const [library, url] = process.argv.slice(2);
const version = (name) => require(`${name}/package.json`).version;

const built_in_fetch = async () => (await fetch(url)).status;

const built_in_http = () =>
  new Promise((resolve, reject) => {
    require('node:http')
      .get(url, (answer) => resolve(answer.resume().statusCode))
      .on('error', reject);
  });

// undici's fetch and WebSocket, with the agent that reads the environment.
const undici = async () => {
  const { fetch, WebSocket, EnvHttpProxyAgent } = require('undici');
  const dispatcher = new EnvHttpProxyAgent();
  return url.startsWith('http')
    ? (await fetch(url, { dispatcher })).status
    : echo(new WebSocket(url, { dispatcher }));
};

const axios = async () => (await require('axios').get(url)).status;

// ws as it is, and with the agent that its manual recommends behind a proxy.
const ws = () => echo(new (require('ws'))(url));
const ws_with_agent = () => {
  const { HttpsProxyAgent } = require('https-proxy-agent');
  return echo(new (require('ws'))(url, { agent: new HttpsProxyAgent(process.env.HTTPS_PROXY) }));
};

// Node's own HTTP/2, which asks no environment: one connection to the proxy, and a stream for whatever
// is wanted.
const http2 = async () => {
  const { once } = require('node:events');
  const proxy = new URL(process.env.HTTPS_PROXY);
  const target = new URL(url);
  const session = require('node:http2').connect(`http://${proxy.host}`);
  const pair = Buffer.from(`${proxy.username}:${proxy.password}`).toString('base64');
  const ask = async (headers) => {
    const stream = session.request({ ...headers, 'proxy-authorization': `Basic ${pair}` });
    const [answer] = await once(stream, 'response');
    return [stream, answer[':status']];
  };
  if (target.protocol === 'http:') {
    const [stream, status] = await ask({
      ':scheme': 'http',
      ':authority': target.host,
      ':path': target.pathname,
    });
    stream.resume();
    await once(stream, 'end');
    return status;
  }
  if (target.protocol === 'ws:') {
    const [settings] = await once(session, 'remoteSettings');
    if (!settings.enableConnectProtocol) throw new Error('the proxy opens no WebSockets');
    const [stream, status] = await ask({
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':scheme': 'http',
      ':authority': target.host,
      ':path': target.pathname,
      'sec-websocket-version': '13',
    });
    if (status !== 200) return status;
    // One text frame under a mask of zeros.
    stream.write(Buffer.concat([Buffer.from([0x81, 0x85, 0, 0, 0, 0]), Buffer.from('hello')]));
    let frame = Buffer.alloc(0);
    for await (const part of stream) {
      frame = Buffer.concat([frame, part]);
      if (frame.length >= 7) break;
    }
    return frame.subarray(2).toString() === 'hello' ? 200 : 'no echo';
  }
  const [socket, status] = await ask({ ':method': 'CONNECT', ':authority': `${target.hostname}:443` });
  if (status !== 200) return status;
  const tls = require('node:tls').connect({ socket, servername: target.hostname });
  const request = require('node:https').get(url, { createConnection: () => tls });
  const [answer] = await once(request, 'response');
  return answer.resume().statusCode;
};

// Says hello and hears it back.
function echo(socket) {
  return new Promise((resolve, reject) => {
    socket.addEventListener('open', () => socket.send('hello'));
    socket.addEventListener('error', (event) => reject(event.error ?? event));
    socket.addEventListener('message', (event) => {
      socket.close();
      resolve(event.data === 'hello' ? 200 : 'no echo');
    });
  });
}

const libraries = {
  fetch: [built_in_fetch, () => process.version],
  http: [built_in_http, () => process.version],
  undici: [undici, () => version('undici')],
  axios: [axios, () => version('axios')],
  ws: [ws, () => version('ws')],
  http2: [http2, () => `${process.version}, nghttp2 ${process.versions.nghttp2}`],
  'ws-with-agent': [ws_with_agent, () => version('ws')],
};

const [reach, say] = libraries[library];
if (url === undefined) {
  console.log(say());
} else {
  reach()
    .then((status) => {
      if (status !== 200) throw new Error(`${library}: ${status}`);
      process.exit(0);
    })
    .catch((error) => {
      console.error(error);
      process.exit(1);
    });
}
