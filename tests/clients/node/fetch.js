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
