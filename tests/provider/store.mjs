// Where the provider keeps sessions, codes, grants and refresh tokens: in memory, and longer than one provider, because a
// rotation of keys makes another. The provider checks the times of what it finds.
const stored = new Map();

export class Store {
  constructor(model) {
    this.model = model;
  }

  #key = (id) => `${this.model}:${id}`;

  #first(wanted) {
    for (const [key, payload] of stored) {
      if (key.startsWith(`${this.model}:`) && wanted(payload)) return payload;
    }
    return undefined;
  }

  async upsert(id, payload) {
    stored.set(this.#key(id), payload);
  }

  async find(id) {
    return stored.get(this.#key(id));
  }

  async findByUid(uid) {
    return this.#first((payload) => payload.uid === uid);
  }

  async findByUserCode(code) {
    return this.#first((payload) => payload.userCode === code);
  }

  async consume(id) {
    stored.get(this.#key(id)).consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    stored.delete(this.#key(id));
  }

  async revokeByGrantId(grantId) {
    for (const [key, payload] of stored) if (payload.grantId === grantId) stored.delete(key);
  }
}
