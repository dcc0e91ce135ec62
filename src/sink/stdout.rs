//! Lines on standard output, for whoever collects what a container prints. The process's own log goes to standard error.

use std::io::Write as _;

use super::{Record, SinkError, Taken};

/// A pipe that nobody reads blocks a thread: never the runtime, and never a second one.
#[derive(Debug, Default)]
pub struct Stdout {
    writing: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

impl Stdout {
    pub(super) async fn send(&mut self, records: &[Record]) -> Result<Taken, SinkError> {
        // What was given up is still being written: it may arrive twice, and nothing overtakes it.
        self.finish().await?;
        let mut text = Vec::with_capacity(records.iter().map(|record| record.text.len() + 1).sum());
        for record in records {
            text.extend_from_slice(&record.text);
            text.push(b'\n');
        }
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&text)?;
            stdout.flush()
        }));
        self.finish().await?;
        Ok(Taken::default())
    }

    async fn finish(&mut self) -> Result<(), SinkError> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let written = writing.await;
        self.writing = None;
        written.map_err(|_| SinkError::Thread)?.map_err(SinkError::Stdout)
    }
}
