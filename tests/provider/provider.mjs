// The provider's configuration, and what a test may change while it runs.
//
// Settings: port, tls { certificate, key } (files), audiences [name, …], alg ("ES256", "RS256" or "EdDSA"),
// access_token_s, redirect_uris (added to those of breakglass-cli).
//
// An audience is asked for by its resource indicator (RFC 8707), urn:break-glass:NAME. Access tokens are JWT (RFC 9068) with
// groups, acr, amr and auth_time.
import { createRequire } from 'node:module';
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { People } from './people.mjs';
import { interaction } from './interaction.mjs';
import { Store } from './store.mjs';

const require = createRequire(path.join(path.resolve(process.argv[2]), 'resolved-from-here.js'));
const { Provider, interactionPolicy } = await import(pathToFileURL(require.resolve('oidc-provider')));
const { createLocalJWKSet, jwtVerify } = await import(
  pathToFileURL(createRequire(require.resolve('oidc-provider')).resolve('jose'))
);

const PREFIX = 'urn:break-glass:';
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';

const clients = (settings) => [
  {
    // A program on a laptop: no secret, PKCE, any port of the loopback (RFC 8252 §7.3).
    client_id: 'breakglass-cli',
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    redirect_uris: ['http://127.0.0.1/callback', 'http://[::1]/callback', ...(settings.redirect_uris ?? [])],
    grant_types: ['authorization_code', 'refresh_token', DEVICE],
    response_types: ['code'],
  },
  {
    // Another program of the same company: its tokens are for the same audiences.
    client_id: 'other-app',
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    redirect_uris: ['http://127.0.0.1/callback'],
    grant_types: ['authorization_code', 'refresh_token', DEVICE],
    response_types: ['code'],
  },
  {
    client_id: 'pipeline',
    client_secret: 'pipeline-secret',
    redirect_uris: [],
    grant_types: ['client_credentials'],
    response_types: [],
  },
  {
    client_id: 'introspector',
    client_secret: 'introspector-secret',
    redirect_uris: [],
    grant_types: [],
    response_types: [],
  },
];

const KINDS = {
  ES256: ['ec', { namedCurve: 'P-256' }],
  RS256: ['rsa', { modulusLength: 2048 }],
  EdDSA: ['ed25519', {}],
};

function newKey(alg) {
  const [kind, options] = KINDS[alg];
  const jwk = generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' });
  return { ...jwk, alg, use: 'sig', kid: createHash('sha256').update(randomUUID()).digest('base64url').slice(0, 12) };
}

/** A login prompt that honours acr_values: without it the parameter would be a wish (OpenID Connect Core 1.0 §3.1.2.1). */
function policy() {
  const base = interactionPolicy.base();
  const { Check } = interactionPolicy;
  const isWeak = ({ oidc }) => {
    const wanted = (oidc.params.acr_values ?? '').split(' ').filter(Boolean);
    return wanted.length > 0 && !wanted.includes(oidc.acr);
  };
  const ask = (ctx) => (isWeak(ctx) ? Check.REQUEST_PROMPT : Check.NO_NEED_TO_PROMPT);
  const details = ({ oidc }) => ({ acr_values: oidc.params.acr_values });
  base.get('login').checks.add(new Check('acr_values', 'none of the acr_values was reached', 'unmet_authentication_requirements', ask, details));
  return base;
}

function configuration(settings, keys, people, issued) {
  const [{ alg }] = keys;
  const lifetime = settings.access_token_s ?? 3600;
  const audiences = settings.audiences ?? [];
  const info = (_ctx, resource) => {
    const audience = resource.startsWith(PREFIX) ? resource.slice(PREFIX.length) : undefined;
    if (!audiences.includes(audience)) throw new Error(`no such resource: ${resource}`);
    return { scope: 'use', audience, accessTokenFormat: 'jwt', accessTokenTTL: lifetime, jwt: { sign: { alg } } };
  };
  return {
    adapter: Store,
    jwks: { keys },
    clients: clients(settings),
    clientDefaults: { id_token_signed_response_alg: alg },
    enabledJWA: { idTokenSigningAlgValues: Object.keys(KINDS) },
    acrValues: ['pwd', 'mfa'],
    scopes: ['openid', 'offline_access', 'groups'],
    claims: { openid: ['sub'], groups: ['groups'], acr: null, amr: null, auth_time: null, sid: null, iss: null },
    cookies: { keys: ['of the tests'], long: { signed: true }, short: { signed: true } },
    findAccount: (_ctx, id) => people.find(id),
    interactions: { policy: policy(), url: (_ctx, { uid }) => `/interaction/${uid}` },
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    expiresWithSession: () => false,
    // A client of the company itself: nobody is asked whether it may.
    async loadExistingGrant(ctx) {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope('openid offline_access groups');
      for (const audience of audiences) grant.addResourceScope(PREFIX + audience, 'use');
      issued.grant(ctx.oidc.session.accountId, await grant.save());
      return grant;
    },
    extraTokenClaims(ctx, token) {
      if (!token.accountId) return undefined;
      const source = ctx.oidc.entities;
      const from = source.AuthorizationCode ?? source.RefreshToken ?? source.DeviceCode ?? {};
      const claims = { groups: people.groups(token.accountId), acr: from.acr, amr: from.amr, auth_time: from.authTime };
      return Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined));
    },
    formats: { customizers: { jwt: (_ctx, token, { payload }) => issued.token(payload.jti, token.grantId, token.accountId) } },
    features: {
      devInteractions: { enabled: false },
      claimsParameter: { enabled: true },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: (_ctx, client) => client.clientId === 'introspector' },
      revocation: { enabled: true },
      deviceFlow: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (_ctx, _client, oneOf) => oneOf?.[0] ?? PREFIX + audiences[0],
        useGrantedResource: () => true,
        getResourceServerInfo: info,
      },
    },
    ttl: { AccessToken: lifetime, IdToken: 3600, Session: 86400, Grant: 86400, Interaction: 600, DeviceCode: 600, RefreshToken: 86400, ClientCredentials: lifetime },
  };
}

/** What was granted and issued, so that a test can end it. */
class Issued {
  grants = new Map();

  tokens = new Map();

  grant(person, id) {
    this.grants.set(person, [...(this.grants.get(person) ?? []), id]);
  }

  token(jti, grant, person) {
    this.tokens.set(jti, { grant, person });
  }
}

export class Site {
  counts = new Map();

  people = new People();

  #issued = new Issued();

  static async make(issuer, settings) {
    const site = new Site();
    Object.assign(site, { issuer, settings, keys: [newKey(settings.alg ?? 'ES256')] });
    site.#renew();
    return site;
  }

  /** A provider with the keys as they are now. What it has stored outlives it. */
  #renew() {
    this.provider = new Provider(this.issuer, configuration(this.settings, this.keys, this.people, this.#issued));
    this.provider.proxy = false;
    this.callback = this.provider.callback();
    return { kids: this.keys.map(({ kid }) => kid) };
  }

  rotate(alg) {
    this.keys = [newKey(alg ?? this.keys[0].alg), ...this.keys];
    return this.#renew();
  }

  withdraw() {
    this.keys = this.keys.slice(0, 1);
    return this.#renew();
  }

  /** For tokens that no provider would make. */
  sign(input) {
    const key = { key: createPrivateKey({ key: this.keys[0], format: 'jwk' }), dsaEncoding: 'ieee-p1363' };
    const hash = this.keys[0].alg === 'EdDSA' ? null : 'sha256';
    return { signature: sign(hash, Buffer.from(input), key).toString('base64url') };
  }

  public() {
    const key = createPublicKey(createPrivateKey({ key: this.keys[0], format: 'jwk' }));
    return { pem: key.export({ type: 'spki', format: 'pem' }) };
  }

  async revoke(person) {
    for (const id of this.#issued.grants.get(person) ?? []) {
      const grant = await this.provider.Grant.find(id);
      await grant?.destroy();
    }
  }

  async disable(person, disabled) {
    this.people.disable(person, disabled);
    if (disabled) await this.revoke(person);
  }

  async serve(request, response) {
    const { pathname } = new URL(request.url, this.issuer);
    this.counts.set(pathname, (this.counts.get(pathname) ?? 0) + 1);
    try {
      if (pathname.startsWith('/interaction/')) await interaction(this, request, response);
      else if (pathname === '/token/introspection' && request.method === 'POST') await this.#introspect(request, response);
      else this.callback(request, response);
    } catch (error) {
      response.writeHead(500, { 'content-type': 'text/plain' }).end(error.stack);
    }
  }

  /** RFC 7662 for the JWT access tokens, which the provider itself leaves to whoever receives them. */
  async #introspect(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const token = new URLSearchParams(Buffer.concat(chunks).toString()).get('token') ?? '';
    const expected = `Basic ${Buffer.from('introspector:introspector-secret').toString('base64')}`;
    const answer = (status, document) =>
      response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(JSON.stringify(document));
    if (request.headers.authorization !== expected) return answer(401, { error: 'invalid_client' });
    try {
      const keys = createLocalJWKSet({ keys: this.keys.map(({ d, p, q, dp, dq, qi, ...open }) => open) });
      const { payload } = await jwtVerify(token, keys, { issuer: this.issuer });
      const { grant, person } = this.#issued.tokens.get(payload.jti);
      const stands = person === undefined || (this.people.find(person) && (await this.provider.Grant.find(grant)));
      return answer(200, stands ? { active: true, token_type: 'Bearer', ...payload } : { active: false });
    } catch {
      return answer(200, { active: false });
    }
  }
}
