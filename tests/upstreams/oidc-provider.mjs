// A real OpenID provider for the end-to-end tests: npm `oidc-provider` on a free loopback port.
//
//   node tests/upstreams/oidc-provider.mjs [--modules DIR] [--alg ES256|RS256|PS256|EdDSA]
//
// DIR holds `node_modules/oidc-provider` (default: the working directory). One line of JSON on
// stdout when it is ready: event, issuer, token_endpoint, jwks_uri, clients. Then one line per
// command on stdin: `rotate` replaces all keys; end of input stops it, so nothing is left behind.
//
// Clients obtain tokens by client_credentials. With `resource=` (RFC 8707) the access token is a
// JWT of type at+jwt for that audience (RFC 9068); without, it is opaque, which a resource server
// has to refuse. Deliberately no users, no consent pages, no storage.

import { generateKeyPair, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import path from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { parseArgs, promisify } from 'node:util';

const { values: options } = parseArgs({
  options: {
    modules: { type: 'string', default: process.cwd() },
    alg: { type: 'string', default: 'ES256' },
  },
});

const entry = path.resolve(options.modules, 'node_modules/oidc-provider/lib/index.js');
const { default: Provider } = await import(pathToFileURL(entry).href);

const kinds = {
  ES256: ['ec', { namedCurve: 'P-256' }],
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  EdDSA: ['ed25519', {}],
};
if (!(options.alg in kinds)) {
  process.stderr.write(`--alg is one of ${Object.keys(kinds).join(', ')}\n`);
  process.exit(2);
}

// Whom the tokens of each client name, besides the client itself.
const attributes = {
  desk: { org: 'acme', roles: ['developer'], groups: ['engineering'] },
  chief: { org: 'acme', roles: ['approver', 'admin'], groups: ['finance'] },
  stray: { org: 7, roles: 'developer' },
};
const clients = Object.keys(attributes).map((client_id) => ({
  client_id,
  client_secret: randomBytes(24).toString('base64url'),
  grant_types: ['client_credentials'],
  response_types: [],
  redirect_uris: [],
  token_endpoint_auth_method: 'client_secret_post',
}));

async function signingKey(alg) {
  const [kind, parameters] = kinds[alg];
  const { privateKey } = await promisify(generateKeyPair)(kind, parameters);
  const kid = `${alg}-${randomBytes(6).toString('hex')}`;
  return { ...privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg };
}

async function provider(issuer) {
  // RS256 is there in any case: the provider signs its ID tokens with it by default.
  const algorithms = [...new Set([options.alg, 'RS256'])];
  const keys = await Promise.all(algorithms.map(signingKey));
  return new Provider(issuer, {
    clients,
    jwks: { keys },
    scopes: ['tools:read', 'tools:call'],
    extraTokenClaims: async (_context, token) => attributes[token.clientId],
    ttl: { ClientCredentials: 600 },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: async () => undefined,
        getResourceServerInfo: async (_context, audience) => ({
          scope: 'tools:read tools:call',
          audience,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 600,
          jwt: { sign: { alg: options.alg } },
        }),
      },
    },
  });
}

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

let handle = (_request, response) => response.writeHead(503).end();
const server = createServer((request, response) => handle(request, response));
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
handle = (await provider(issuer)).callback();

say({
  event: 'ready',
  issuer,
  token_endpoint: `${issuer}/token`,
  jwks_uri: `${issuer}/jwks`,
  clients: Object.fromEntries(clients.map((one) => [one.client_id, one.client_secret])),
  pid: process.pid,
});

for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() === 'rotate') {
    handle = (await provider(issuer)).callback();
    say({ event: 'rotated' });
  }
}
server.closeAllConnections();
server.close();
