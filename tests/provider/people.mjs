// Who can sign in. A password is the person's name; the second factor is always 123456.
const PEOPLE = {
  alice: ['payments-oncall'],
  bob: ['payments-oncall'],
  carol: ['payments-leads', 'breakglass-admins'],
  dave: ['breakglass-auditors'],
  erin: [],
};

export class People {
  #groups = new Map(Object.entries(PEOPLE));

  #disabled = new Set();

  regroup(person, groups) {
    this.#groups.set(person, groups);
  }

  disable(person, disabled) {
    this.#disabled[disabled ? 'add' : 'delete'](person);
  }

  groups(person) {
    return this.#groups.get(person) ?? [];
  }

  /** The account as oidc-provider wants it, or undefined. */
  find(person) {
    if (!this.#groups.has(person) || this.#disabled.has(person)) return undefined;
    const claims = () => ({ sub: person, email: `${person}@example.test`, email_verified: true, groups: this.groups(person) });
    return { accountId: person, claims };
  }

  /** How somebody has authenticated, or undefined. */
  authenticate({ login, password, otp }) {
    if (!this.find(login) || password !== login) return undefined;
    if (!otp) return { accountId: login, acr: 'pwd', amr: ['pwd'] };
    return otp === '123456' ? { accountId: login, acr: 'mfa', amr: ['pwd', 'otp'] } : undefined;
  }
}
