// An OpenID provider for tests: the certified oidc-provider on loopback, with a sign-in form and a way to change it
// while it runs.
//
//     node provider.mjs CONFIG.json
//
// It prints one line of JSON, `{"issuer": …, "control": …}`, and serves until it is killed. Everything is in memory.
//
// The configuration, each part optional:
//   accounts   [{"login", "sub", "password", …claims}]   `sub` is `login` where it is absent; without a password any will do
//   clients    [{"client_id", "client_secret", "redirect_uris", …}]   the metadata of dynamic registration
//   resources  {URI: {"scope", "alg", "ttl", "claims"}}   what JWT access tokens can be asked for, RFC 8707
//   ttl        {"IdToken": 3600, …}   seconds, by oidc-provider's names
//
// POST to `control` + `/` + one of `controls` below, with JSON, changes what runs.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { json, text } from 'node:stream/consumers';
import { Provider, errors } from 'oidc-provider';

import { escape, page } from './page.mjs';
import { storeOver } from './store.mjs';

// Standard output carries the one line; the library's advice goes to the log.
console.info = console.error;

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const secret = randomBytes(16).toString('hex');
const cookieKeys = [randomBytes(16).toString('hex')];

const accounts = new Map();
const clients = new Map();
const resources = new Map(Object.entries(config.resources ?? {}));
const addAccount = (account) => accounts.set(account.login, { sub: account.login, ...account });
const addClient = (client) => clients.set(client.client_id, client);
config.accounts?.forEach(addAccount);
config.clients?.forEach(addClient);

const accountOf = (sub) => [...accounts.values()].find((account) => account.sub === sub);

// Sessions, codes and grants outlive a change of keys, which makes a new provider.
const rows = new Map();

/** One signing key of each kind; the key's name is its thumbprint. */
const newKeys = () => [
  generateKeyPairSync('rsa', { modulusLength: 2048 }),
  generateKeyPairSync('ec', { namedCurve: 'P-256' }),
].map(({ privateKey }) => ({ ...privateKey.export({ format: 'jwk' }), use: 'sig' }));

const settings = (keys) => ({
  adapter: storeOver(rows, clients),
  jwks: { keys },
  cookies: {
    keys: cookieKeys,
    // A browser's cookies know no ports, and what is tested stands on another port of this address.
    names: { session: 'idp-session', interaction: 'idp-interaction', resume: 'idp-resume' },
  },
  pkce: { required: () => true },
  scopes: ['openid', 'offline_access'],
  claims: {
    openid: ['sub'],
    profile: ['name', 'preferred_username'],
    email: ['email', 'email_verified'],
    groups: ['groups'],
  },
  // ID tokens carry the claims, as those of most providers do, and not only the userinfo endpoint.
  conformIdTokenClaims: false,
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256'] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(_ctx, uri) {
        if (!resources.has(uri)) throw new errors.InvalidTarget();
        const { scope = '', alg = 'RS256', ttl = 300 } = resources.get(uri);
        return { scope, audience: uri, accessTokenFormat: 'jwt', accessTokenTTL: ttl, jwt: { sign: { alg } } };
      },
    },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource(ctx, form) {
        ctx.body = page('Sign out?', `${form}<button form="op.logoutForm" name="logout" value="yes">Sign out</button>`);
      },
      postLogoutSuccessSource(ctx) {
        ctx.body = page('Signed out');
      },
    },
  },
  extraTokenClaims: (_ctx, token) => resources.get(token.aud)?.claims,
  findAccount(_ctx, sub) {
    const account = accountOf(sub);
    if (!account) return undefined;
    const { login, password, ...claims } = account;
    return { accountId: sub, claims: () => claims };
  },
  loadExistingGrant,
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  renderError(ctx, out) {
    ctx.type = 'html';
    ctx.body = page(out.error, `<p>${escape(out.error_description ?? '')}`);
  },
  ttl: config.ttl ?? {},
});

/** Grants what is asked for: whether people consent is not what is tested. */
async function loadExistingGrant(ctx) {
  const { client, params, provider: op, session } = ctx.oidc;
  const known = session.grantIdFor(client.clientId);
  const grant = (known && (await op.Grant.find(known))) ||
    new op.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope(params.scope);
  for (const uri of [params.resource ?? []].flat()) grant.addResourceScope(uri, params.scope);
  await grant.save();
  return grant;
}

/** The sign-in form: `login` and `password`. */
async function signIn(req, res) {
  const { prompt } = await provider.interactionDetails(req, res);
  if (prompt.name !== 'login') return provider.interactionFinished(req, res, { consent: {} });
  let wrong = '';
  if (req.method === 'POST') {
    const form = new URLSearchParams(await text(req));
    const account = accounts.get(form.get('login'));
    if (account && (account.password ?? form.get('password')) === form.get('password')) {
      return provider.interactionFinished(req, res, { login: { accountId: account.sub } });
    }
    wrong = '<p>Unknown account or wrong password.';
  }
  res.writeHead(wrong ? 401 : 200, { 'content-type': 'text/html; charset=utf-8' }).end(page('Sign in', `${wrong}
    <form method="post">
      <label>Account <input name="login" autofocus></label>
      <label>Password <input name="password" type="password"></label>
      <button>Sign in</button>
    </form>`));
}

const asked = new Map();
const broken = new Set();

/** What the test may change; each answers something that becomes JSON. */
const controls = {
  /** New keys sign from now on; `{"keep": true}` leaves the old ones in the published set. */
  rotate({ keep = false }) {
    keys = [...newKeys(), ...(keep ? keys : [])];
    provider = new Provider(issuer, settings(keys));
    listen = provider.callback();
  },
  /** Adds or replaces an account or a client. */
  account: (account) => void addAccount(account),
  client: (client) => void addClient(client),
  /** Nobody signs in with this account from now on, and its tokens are worth nothing here. */
  forget: ({ login }) => accounts.delete(login),
  /** These paths answer 503 from now on, and no others. */
  outage({ paths }) {
    broken.clear();
    paths.forEach((path) => broken.add(path));
  },
  /** How often each path was asked for. */
  asked: () => Object.fromEntries(asked),
};

async function handle(req, res) {
  const { pathname } = new URL(req.url, issuer);
  if (pathname.startsWith(`/${secret}/`)) {
    const control = controls[pathname.slice(secret.length + 2)];
    const answer = control?.(await json(req)) ?? {};
    return res.writeHead(control ? 200 : 404, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  }
  // Interactions have names of their own, which nobody asks after.
  const counted = pathname.startsWith('/interaction/') ? '/interaction' : pathname;
  asked.set(counted, (asked.get(counted) ?? 0) + 1);
  if (broken.has(pathname)) return res.writeHead(503).end();
  return counted === '/interaction' ? signIn(req, res) : listen(req, res);
}

const server = createServer((req, res) => {
  handle(req, res).catch((error) => {
    console.error(req.method, req.url, error);
    if (!res.headersSent) res.writeHead(400);
    res.end(String(error.message));
  });
});
let issuer, keys, provider, listen;
server.listen(0, '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  keys = [];
  controls.rotate({});
  process.stdout.write(`${JSON.stringify({ issuer, control: `${issuer}/${secret}` })}\n`);
});
