// Puts a Node.js application on a Unix socket, behind Lectern's bridge.
//
//     node --require lectern_node.cjs ENTRYPOINT
//
// LECTERN_SOCKET is the socket, LECTERN_PACKAGES the directory whose `node_modules` were restored, if any. Applications listen on
// TCP, on the port in PORT if they are written for hosting. The first server that listens becomes the content's, and one on PORT
// takes its place: it listens on the socket instead. All others listen where they want, seen by this process's own cell only.
'use strict';

const cluster = require('node:cluster');
const fs = require('node:fs');
const http = require('node:http');
const module_ = require('node:module');
const net = require('node:net');
const { pathToFileURL } = require('node:url');

const socket = process.env.LECTERN_SOCKET;
const packages = process.env.LECTERN_PACKAGES;
// Processes that the application forks load this too. They listen where they want, unless they share the application's servers.
process.env.LECTERN_NODE_MAIN ??= String(process.pid);
const serves = process.env.LECTERN_NODE_MAIN === String(process.pid) || cluster.isWorker;

// `require` finds them by NODE_PATH, which `import` does not know.
if (packages) {
  const root = pathToFileURL(`${packages}/package.json`).href;
  if (module_.registerHooks) {
    const { resolveSync } = require('./lectern_node_packages.cjs');
    module_.registerHooks({ resolve: (specifier, context, next) => resolveSync(specifier, context, next, root) });
  } else {
    module_.register('./lectern_node_packages.cjs', { parentURL: pathToFileURL(__filename), data: { root } });
  }
}

let served;

// What a call of `listen` asks for; undefined where it is no TCP port.
function portOf(args) {
  const [first] = args;
  if (first === undefined || first === null || typeof first === 'function') return 0;
  if (typeof first === 'number') return first;
  if (typeof first === 'string') return /^\d+$/.test(first) ? Number(first) : undefined;
  if (typeof first !== 'object' || first._handle || first.handle || first.path !== undefined || first.fd !== undefined) {
    return undefined;
  }
  return first.port === undefined || first.port === null ? undefined : Number(first.port);
}

// Client of a request as the bridge says: it always overwrites this header. A connection carries requests of many.
function place(request) {
  const client = String(request.headers['x-forwarded-for'] ?? '').split(',')[0].trim();
  if (client) {
    for (const [name, value] of [['remoteAddress', client], ['remoteFamily', net.isIPv6(client) ? 'IPv6' : 'IPv4']]) {
      Object.defineProperty(request.socket, name, { value, configurable: true, enumerable: true });
    }
  }
}

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...args) {
  const port = portOf(args);
  const asked = Number(process.env.PORT);
  if (!serves || port === undefined || (served !== undefined && port !== asked)) return listen.apply(this, args);
  if (served !== undefined) {
    console.error(`lectern: the server on port ${asked} is served; the one on port ${served} is not`);
    fs.rmSync(socket, { force: true });
  }
  served = port;
  this.prependOnceListener('listening', () => {
    // For this account alone, whatever its mask.
    fs.chmodSync(socket, 0o600);
    // Applications print where they listen.
    this.address = () => ({ address: '127.0.0.1', family: 'IPv4', port: port || asked });
  });
  if (this instanceof http.Server) {
    // Longer than the bridge keeps its idle connections.
    this.keepAliveTimeout = Math.max(this.keepAliveTimeout, 1000 * Number(process.env.LECTERN_KEEP_ALIVE_SECONDS));
    this.headersTimeout = Math.max(this.headersTimeout, this.keepAliveTimeout + 1000);
    // The bridge has its own times for slow uploads.
    this.requestTimeout = 0;
    for (const event of ['request', 'upgrade', 'checkContinue', 'checkExpectation']) this.prependListener(event, place);
  }
  const last = args[args.length - 1];
  return listen.call(this, { path: socket }, ...(typeof last === 'function' ? [last] : []));
};
