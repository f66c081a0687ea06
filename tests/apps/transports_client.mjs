// Talks to one of the apps `transports.py` and `transports.mjs`, and prints what was seen as JSON.
//
//     node client.mjs sockets URL COUNT
//     node client.mjs upload|download URL BLOCKS

import { createHash } from 'node:crypto';
import { request } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

const MIB = 1 << 20;
const [verb, address, number] = process.argv.slice(2);
const count = Number(number);

const once = (target, name) =>
  new Promise((found, failed) => {
    target.addEventListener(name, found, { once: true });
    if (name !== 'close') target.addEventListener('close', (event) => failed(new Error(`closed: ${event.code}`)), { once: true });
  });

async function open() {
  const socket = new WebSocket(address.replace('http', 'ws'));
  socket.binaryType = 'arraybuffer';
  await once(socket, 'open');
  return socket;
}

// Sends and answers what comes back.
async function ask(socket, message) {
  const answer = once(socket, 'message');
  socket.send(message);
  return (await answer).data;
}

// Texts and bytes of many sizes come back as they were, by sockets that are all open at a time.
async function sockets() {
  const all = await Promise.all(Array.from({ length: count }, open));
  await Promise.all(
    all.map(async (socket, own) => {
      for (const text of [`number ${own}`, 'ä€😀', '', 'x'.repeat(70_000)]) {
        if ((await ask(socket, text)) !== text) throw new Error(`another text than ${text.slice(0, 20)}`);
      }
      for (const size of [0, 1, 125, 126, 65_536, ...(own === 0 ? [3 * MIB] : [])]) {
        const sent = new Uint8Array(size).map((_, at) => (at + own) % 256);
        const back = new Uint8Array(await ask(socket, sent));
        if (Buffer.compare(back, sent) !== 0) throw new Error(`other bytes than the ${size} sent`);
      }
    }),
  );
  const told = once(all[0], 'close');
  all[0].send('close 4321');
  const { code, reason, wasClean } = await told;
  const left = once(all[1], 'close');
  all[1].close(4001, 'bye');
  await left;
  for (const socket of all.slice(2)) socket.close();
  return { sockets: all.length, code, reason, wasClean };
}

function* blocks() {
  for (let at = 0; at < count; at += 1) {
    const block = Buffer.alloc(MIB, at % 251);
    block.writeBigUInt64BE(BigInt(at));
    yield block;
  }
}

const response = (options, body) =>
  new Promise((found, failed) => {
    const asking = request(address, options, found).on('error', failed);
    if (body) pipeline(body, asking).catch(failed);
    else asking.end();
  });

async function upload() {
  const digest = createHash('sha256');
  const counted = function* () {
    for (const block of blocks()) {
      digest.update(block);
      yield block;
    }
  };
  const options = { method: 'POST', headers: { 'content-length': count * MIB } };
  const answer = await response(options, Readable.from(counted()));
  const seen = JSON.parse(Buffer.concat(await answer.toArray()).toString());
  return { ...seen, status: answer.statusCode, expected: digest.digest('hex') };
}

async function download() {
  const expected = createHash('sha256');
  for (const block of blocks()) expected.update(block);
  const answer = await response({ method: 'GET' });
  const digest = createHash('sha256');
  let received = 0;
  for await (const part of answer) {
    digest.update(part);
    received += part.length;
  }
  return { status: answer.statusCode, received, digest: digest.digest('hex'), expected: expected.digest('hex') };
}

process.stdout.write(`${JSON.stringify(await { sockets, upload, download }[verb]())}\n`);
