//! The subscriber's last layer: holds repetition back and writes what is left.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::line::{Content, Line, Value};
use super::repetition::{HeldBack, Repetition};
use super::{LogFormat, process_name};
use crate::clock::Clock;
use crate::telemetry::request_context;

/// Targets of ours begin with it.
const OURS: &str = "breakglass";

/// See the module.
pub(super) struct Lines {
    pub(super) shared: Arc<Shared>,
    pub(super) foreign_detail: bool,
    pub(super) every_line: bool,
}

/// What the log's own thread needs too.
pub(super) struct Shared {
    writer: Mutex<Box<dyn Write + Send>>,
    format: LogFormat,
    colour: bool,
    clock: Clock,
    repetition: Mutex<Repetition<Kind, Summary>>,
}

/// One place in the code; of errors, one text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    site: Identifier,
    text: u64,
}

#[derive(Debug)]
struct Summary {
    level: Level,
    target: &'static str,
    message: String,
}

impl Lines {
    pub(super) fn new(writer: Box<dyn Write + Send>, format: LogFormat, colour: bool, clock: Clock) -> Self {
        let writer = Mutex::new(writer);
        let repetition = Mutex::default();
        let shared = Arc::new(Shared { writer, format, colour, clock, repetition });
        Self { shared, foreign_detail: false, every_line: false }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let is_ours =
            metadata.target().strip_prefix(OURS).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '_']));
        is_ours || self.foreign_detail || *metadata.level() <= Level::INFO
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut content = Content::default();
        event.record(&mut content);
        let metadata = event.metadata();
        self.shared.tell_what_was_held_back();
        if self.every_line || self.shared.admits(metadata, &content) {
            self.shared.write(*metadata.level(), metadata.target(), &content);
        }
    }
}

impl Shared {
    fn admits(&self, metadata: &'static Metadata<'static>, content: &Content) -> bool {
        let text = if *metadata.level() == Level::ERROR { digest(content) } else { 0 };
        let kind = Kind { site: metadata.callsite(), text };
        let summary =
            || Summary { level: *metadata.level(), target: metadata.target(), message: content.message.clone() };
        let now = self.clock.boot();
        self.repetition.lock().unwrap_or_else(PoisonError::into_inner).admits(kind, now, summary)
    }

    /// Tells what intervals that are over have held back.
    pub(super) fn tell_what_was_held_back(&self) {
        let now = self.clock.boot();
        let held = self.repetition.lock().unwrap_or_else(PoisonError::into_inner).end_intervals(now);
        for HeldBack { what, count, during } in held {
            let content = Content {
                message: format!("{count} more like it in {} s: {}", during.as_secs(), what.message),
                fields: vec![("held_back", Value::Unsigned(count))],
            };
            self.write_for(what.level, what.target, &content, None);
        }
    }

    fn write(&self, level: Level, target: &str, content: &Content) {
        self.write_for(level, target, content, request_context::current_with_id());
    }

    fn write_for(
        &self,
        level: Level,
        target: &str,
        content: &Content,
        request: Option<request_context::RequestContext>,
    ) {
        let process = process_name();
        let line = Line { at: self.clock.wall(), level, target, content, process: &process, request };
        let text = line.written(self.format, self.colour);
        // When stderr is gone there is nobody left to tell.
        let _ = self.writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes());
    }
}

fn digest(content: &Content) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.message.hash(&mut hasher);
    for (name, value) in &content.fields {
        name.hash(&mut hasher);
        format!("{value:?}").hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::{BootTime, Moment, WallTime};

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        fn lines(&self) -> Vec<serde_json::Value> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    fn logging(foreign_detail: bool, work: impl FnOnce(&ManualClock)) -> Vec<serde_json::Value> {
        let clock = ManualClock::starting_at(Moment {
            boot: BootTime::from_duration(Duration::from_secs(100)),
            wall: WallTime::from_unix_s(1_795_313_580),
        });
        let paper = Paper::default();
        let system = Clock::Manual(Arc::clone(&clock));
        let mut lines = Lines::new(Box::new(paper.clone()), LogFormat::Json, false, system);
        lines.foreign_detail = foreign_detail;
        tracing::subscriber::with_default(Registry::default().with(lines), || work(&clock));
        paper.lines()
    }

    #[test]
    fn a_storm_is_told_by_number_and_errors_by_text() {
        let lines = logging(false, |clock| {
            for number in 0..100 {
                tracing::warn!(number, "the upstream gave no answer");
                tracing::error!(problem = number / 50, "the audit log is damaged");
            }
            clock.advance(Duration::from_secs(10));
            tracing::info!("later");
        });
        let of = |message: &str| lines.iter().filter(|line| line["message"] == message).count();
        assert_eq!(of("the upstream gave no answer"), 20);
        assert_eq!(of("the audit log is damaged"), 40, "each text has its own count");
        assert_eq!(of("80 more like it in 10 s: the upstream gave no answer"), 1);
        assert_eq!(of("30 more like it in 10 s: the audit log is damaged"), 2);
        assert_eq!(lines.last().unwrap()["message"], "later");
        assert_eq!(lines[20]["timestamp"], "2026-11-22T02:13:00.000Z");
    }

    #[test]
    fn lines_say_for_which_request_they_were_written() {
        let mut context = request_context::RequestContext::default();
        let mut id = String::new();
        let lines = logging(false, |_| {
            request_context::within(&mut context, || {
                tracing::info!("on behalf");
                id = request_context::request_id().to_string();
                tracing::info!(request_id = "its own", "on behalf");
            });
            tracing::info!("on nobody's");
        });
        assert_eq!(lines[0]["request_id"], id.as_str());
        assert_eq!(lines[1]["request_id"], "its own");
        assert_eq!(lines[2].get("request_id"), None);
    }

    #[test]
    fn libraries_are_silent_below_info_unless_asked() {
        let work = |_: &ManualClock| {
            tracing::info!(target: "h2::codec", "kept");
            tracing::debug!(target: "h2::codec", "a header");
            tracing::debug!(target: "breakglassy", "not ours");
            tracing::trace!(target: "breakglass::sidecar", "ours");
        };
        let messages = |lines: Vec<serde_json::Value>| -> Vec<String> {
            lines.iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(messages(logging(false, work)), ["kept", "ours"]);
        assert_eq!(messages(logging(true, work)), ["kept", "a header", "not ours", "ours"]);
    }
}
