// A real authorization server (npm oidc-provider) with one client, `agent`, that may ask for access
// tokens as JWT for any resource (RFC 8707) by client credentials. Prints where it is and ends with
// its stdin or a signal.

import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(join(here, "..", ".node", "package.json"));
const { Provider } = await import(pathToFileURL(require.resolve("oidc-provider")).href);

const key = (name) => ({
  ...generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" }),
  kid: name,
  alg: "ES256",
  use: "sig",
});

const server = createServer();
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "agent",
      client_secret: "a-secret-of-this-test-only",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
      id_token_signed_response_alg: "ES256",
    },
  ],
  jwks: { keys: [key("provider-1")] },
  enabledJWA: { idTokenSigningAlgValues: ["ES256"] },
  scopes: ["mcp:tools"],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_context, resource) => ({
        audience: resource,
        scope: "mcp:tools",
        accessTokenFormat: "jwt",
        accessTokenTTL: 600,
        jwt: { sign: { alg: "ES256" } },
      }),
    },
  },
  extraTokenClaims: () => ({ org: "acme", roles: ["developer"], groups: [] }),
});
server.on("request", provider.callback());
console.log(JSON.stringify({ event: "ready", issuer, token: `${issuer}/token` }));
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit(0));
