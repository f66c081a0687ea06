// Where the provider keeps sessions, codes, grants and clients: maps in memory, which outlive one provider object.

/** An adapter for oidc-provider over `rows`; clients are looked up in `clients`, by their names. */
export const storeOver = (rows, clients) => (model) => {
  const key = (id) => `${model}:${id}`;
  const first = (test) => [...rows].find(([name, row]) => name.startsWith(`${model}:`) && test(row))?.[1];
  return {
    async upsert(id, row) { rows.set(key(id), row); },
    async find(id) { return model === 'Client' ? clients.get(id) : rows.get(key(id)); },
    async findByUid(uid) { return first((row) => row.uid === uid); },
    async findByUserCode(code) { return first((row) => row.userCode === code); },
    async consume(id) { rows.get(key(id)).consumed = Math.floor(Date.now() / 1000); },
    async destroy(id) { rows.delete(key(id)); },
    async revokeByGrantId(grantId) {
      for (const [name, row] of rows) if (row.grantId === grantId) rows.delete(name);
    },
  };
};
