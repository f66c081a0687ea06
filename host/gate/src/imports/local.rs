//! What a plugin reads without anybody else: its log, its settings, the time, randomness.

use crate::asked::tell;
use crate::bindings::lectern::plugin::{clock, config, logging, random};
use crate::learn::Taint;
use crate::state::State;

/// Random bytes that one call of `random.bytes` may ask for.
const MAX_RANDOM_BYTES: u32 = 65_536;

impl logging::Host for State {
    fn log(&mut self, level: logging::Level, message: String, fields: Vec<(String, String)>) {
        let level = match level {
            logging::Level::Trace => tracing::Level::TRACE,
            logging::Level::Debug => tracing::Level::DEBUG,
            logging::Level::Info => tracing::Level::INFO,
            logging::Level::Warn => tracing::Level::WARN,
            logging::Level::Error => tracing::Level::ERROR,
        };
        self.write_log(level, &message, &fields);
    }
}

impl config::Host for State {
    fn name(&mut self) -> String {
        self.plugin().to_owned()
    }
    fn document(&mut self) -> String {
        self.settings().document().to_owned()
    }
    fn get(&mut self, key: String) -> Option<String> {
        self.settings().get(&key).map(str::to_owned)
    }
    fn keys(&mut self) -> Vec<String> {
        self.settings().keys()
    }
}

impl clock::Host for State {
    fn unix_millis(&mut self) -> u64 {
        tell!("unix-millis");
        self.taint(Taint::Clock);
        self.backend().clock.unix_millis()
    }
}

impl random::Host for State {
    fn bytes(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        tell!("random {len}");
        self.taint(Taint::Random);
        if len > MAX_RANDOM_BYTES {
            wasmtime::bail!("asked for {len} random bytes, more than {MAX_RANDOM_BYTES}");
        }
        let mut bytes = vec![0; len as usize];
        getrandom::fill(&mut bytes).map_err(|error| wasmtime::format_err!("no randomness: {error}"))?;
        Ok(bytes)
    }
}
