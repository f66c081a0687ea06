// A Node.js app that speaks all that a browser can: WebSocket, events, long polls, large bodies. `transports.py` is its twin.

import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { WebSocketServer } from 'ws';

const MIB = 1 << 20;

const watchers = new Set();
const waiting = new Set();
const closed = [];

function* blocks(count) {
  for (let number = 0; number < count; number += 1) {
    const block = Buffer.alloc(MIB, number % 251);
    block.writeBigUInt64BE(BigInt(number));
    yield block;
  }
}

const paths = {
  '/state': (_, response) => json(response, { watchers: watchers.size, waiting: waiting.size, closed }),
  '/events': (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
    response.write('data: hello\n\n');
    watchers.add(response);
    response.on('close', () => watchers.delete(response));
  },
  '/tell': (request, response, query) => {
    for (const watcher of watchers) watcher.write(`data: ${query}\n\n`);
    for (const poll of waiting) json(poll, query);
    waiting.clear();
    json(response, query);
  },
  '/poll': (_, response) => waiting.add(response),
  '/upload': async (request, response) => {
    const digest = createHash('sha256');
    let received = 0;
    for await (const part of request) {
      digest.update(part);
      received += part.length;
    }
    json(response, { received, digest: digest.digest('hex') });
  },
  '/download': (_, response, query) => {
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': Number(query) * MIB });
    return pipeline(blocks(Number(query)), response);
  },
};

function json(response, value) {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}

const server = createServer((request, response) => {
  const [path, query] = request.url.split('?');
  const answer = paths[path] ?? ((_, missing) => missing.writeHead(404).end());
  Promise.resolve(answer(request, response, query)).catch(() => response.destroy());
});

const sockets = new WebSocketServer({ server });
sockets.on('connection', (socket) => {
  socket.on('message', (data, binary) => {
    const text = binary ? '' : data.toString();
    if (text.startsWith('close ')) socket.close(Number(text.slice(6)), 'enough');
    else if (text === 'ping me') {
      socket.once('pong', () => socket.send('you answered'));
      socket.ping();
    } else socket.send(data, { binary });
  });
  socket.on('close', (code) => closed.push(code));
});

server.listen(process.env.PORT);
