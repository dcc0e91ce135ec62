//! Everything this process logs, as the programs write it, at every level.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use breakglass::telemetry::{LogFormat, LogSetup};
use serde_json::Value;

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// One for all tests of the process: there can be no other.
    pub(crate) fn of_this_process() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            LogSetup::new("trace", LogFormat::Json).every_line().to(log.clone()).init().unwrap();
            log
        })
        .clone()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Lines of which `name` is `value`.
    pub(crate) fn lines(&self, name: &str, value: &str) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line[name] == value).collect()
    }
}

/// A body's digest, as lines have it.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
