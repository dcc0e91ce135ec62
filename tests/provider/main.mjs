// A certified OpenID provider (npm oidc-provider) for the tests, on the loopback, driven by commands.
//
//   node main.mjs MODULES     MODULES: the node_modules of this folder's package-lock.json
//
// Standard input takes one JSON object a line, the first of which is the start; each is answered on standard output by
// one line. The process ends with its standard input, so that no test can leave one behind.
//
//   {"do": "start", …}                     see `Settings` in provider.mjs     {"issuer": "http://127.0.0.1:…"}
//   {"do": "rotate", "alg": "ES256"}       a new key signs; those before stay published    {"kids": [newest, …]}
//   {"do": "withdraw"}                     only the newest key stays published             {"kids": [newest]}
//   {"do": "down"}, {"do": "up"}           nobody answers; somebody answers again, at the same address
//   {"do": "groups", "person": "alice", "groups": […]}
//   {"do": "disable", "person": "alice"}   no sign-in, no refresh, no active token of theirs; "enable" undoes it
//   {"do": "revoke", "person": "alice"}    what was granted to their clients so far is gone
//   {"do": "sign", "input": "…"}           any text, by the newest key (RFC 7515 §5.1)     {"signature": "…"}
//   {"do": "public"}                       the newest key                                  {"pem": "…"}
//   {"do": "counts"}                       requests so far, by path                        {"/jwks": 2, …}
import http from 'node:http';
import https from 'node:https';
import { readFileSync } from 'node:fs';
import readline from 'node:readline';
import { Site } from './provider.mjs';

// Standard output is for answers alone; the provider gives its advice on it too.
console.log = console.info = console.error;

const say = (document) => process.stdout.write(`${JSON.stringify(document)}\n`);
let site;
let server;
let address;

function make(tls) {
  const serve = (request, response) => site.serve(request, response);
  return tls ? https.createServer({ cert: readFileSync(tls.certificate), key: readFileSync(tls.key) }, serve) : http.createServer(serve);
}

const listening = () =>
  new Promise((done, failed) => {
    server.once('error', failed);
    server.listen(address.port, '127.0.0.1', () => done(server.address().port));
  });

const commands = {
  async start(settings) {
    address = { port: settings.port ?? 0, tls: settings.tls };
    server = make(address.tls);
    address.port = await listening();
    // The certificates of the tests name localhost, and a cookie of localhost is none of 127.0.0.1.
    const issuer = address.tls ? `https://localhost:${address.port}` : `http://127.0.0.1:${address.port}`;
    site = await Site.make(issuer, settings);
    return { issuer };
  },
  rotate: ({ alg }) => site.rotate(alg),
  withdraw: () => site.withdraw(),
  async down() {
    const closed = new Promise((done) => server.close(done));
    server.closeAllConnections();
    await closed;
    return {};
  },
  async up() {
    server = make(address.tls);
    await listening();
    return {};
  },
  groups: ({ person, groups }) => site.people.regroup(person, groups),
  disable: ({ person }) => site.disable(person, true),
  enable: ({ person }) => site.disable(person, false),
  revoke: ({ person }) => site.revoke(person),
  sign: ({ input }) => site.sign(input),
  public: () => site.public(),
  counts: () => Object.fromEntries(site.counts),
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  try {
    say((await commands[command.do](command)) ?? {});
  } catch (error) {
    say({ error: `${command.do}: ${error.stack}` });
  }
}
process.exit(0);
