-- What a task that was done within its request brought, in the protocol's form {"type", "data"}.

ALTER TABLE short_tasks ADD COLUMN result json;
