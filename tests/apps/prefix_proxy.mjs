// A proxy that has a server below a path: node prefix_proxy.mjs http://127.0.0.1:PORT /prefix. Prints its own port. It passes bodies
// and WebSockets on as they come, and says in the usual headers what was asked of it.
import http from 'node:http';
import net from 'node:net';

const [target, prefix] = process.argv.slice(2);
const to = new URL(target);

const told = (request) => ({
  ...request.headers,
  'x-forwarded-for': request.socket.remoteAddress,
  'x-forwarded-host': request.headers.host,
  'x-forwarded-proto': 'http',
  'x-forwarded-prefix': prefix,
});

const inside = (request) => (request.url.startsWith(`${prefix}/`) ? request.url.slice(prefix.length) : undefined);

const server = http.createServer((request, response) => {
  const path = inside(request);
  if (path === undefined) {
    response.writeHead(404, { 'content-type': 'text/plain' });
    response.end('another server of this host\n');
    return;
  }
  const options = { host: to.hostname, port: to.port, method: request.method, path, headers: told(request) };
  const onward = http.request(options, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  onward.on('error', () => response.destroy());
  request.pipe(onward);
});

server.on('upgrade', (request, socket, head) => {
  const path = inside(request);
  if (path === undefined) {
    socket.destroy();
    return;
  }
  const onward = net.connect(Number(to.port), to.hostname, () => {
    const lines = Object.entries(told(request)).map(([name, value]) => `${name}: ${value}`);
    onward.write(`${request.method} ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
    onward.write(head);
    socket.pipe(onward).pipe(socket);
  });
  onward.on('error', () => socket.destroy());
  socket.on('error', () => onward.destroy());
});

server.listen(0, '127.0.0.1', () => console.log(server.address().port));
