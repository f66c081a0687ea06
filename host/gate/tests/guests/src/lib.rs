//! Components that misbehave, for the gate's tests. Each is one file under `examples/`.
